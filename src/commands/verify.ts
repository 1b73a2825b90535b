import { Args, Flags } from "@oclif/core";
import { BaseBundles } from "../cli/base-bundles.ts";
import { MirrorCommand } from "../cli/base-command.ts";
import {
  allowMissingFlag,
  archiveFlags,
  argumentOnly,
  namingFlags,
  provenBaseFlag,
  registryFlags,
} from "../cli/flags.ts";
import { openInput } from "../cli/open-input.ts";
import { provedInPassing } from "../cli/piped-bundle.ts";
import { Registries, type RegistryFlags } from "../cli/registries.ts";
import { parseRegistryTarget } from "../cli/requests.ts";
import { formatVerified, type VerifyResult, verifyBundle, verifyFailure } from "../cli/verify-bundle.ts";

export default class Verify extends MirrorCommand {
  static override summary = "prove every digest of a bundle, and that a registry holds all of it";
  static override description =
    `Reads the whole bundle and compares every digest and every reference. With --registry, also asks the registry for every tag, manifest and blob. Of a delta, it proves what is in it; with --base, also what it leans on. Ends with exit code 4 if anything is damaged or missing, and names the content and the images that need it.`;
  static override examples = [
    "<%= config.bin %> <%= command.id %> bundle.tar",
    "<%= config.bin %> <%= command.id %> bundle.tar --registry 10.141.241.175:32000",
    "<%= config.bin %> <%= command.id %> november.tar --base october.tar",
  ];
  static override args = {
    bundle: Args.string({
      ...argumentOnly,
      required: true,
      description: "bundle, archive of images, or folder with an OCI layout; - is standard input",
    }),
  };
  static override flags = {
    registry: Flags.string({
      summary: "registry that should hold the bundle",
      helpValue: "HOST[:PORT][/PREFIX]",
      env: "MIRROR_REGISTRY",
    }),
    ...provenBaseFlag,
    ...archiveFlags,
    ...allowMissingFlag,
    ...namingFlags,
    ...registryFlags,
  };

  override async run(): Promise<VerifyResult> {
    const { flags, args } = await this.parse(Verify);
    const target = flags.registry === undefined ? undefined : parseRegistryTarget(flags.registry);
    const result = await this.#verify(args.bundle, target, flags);
    if (!result.ok) throw verifyFailure(result, args.bundle, { registry: flags.registry, name: flags.name });
    this.log(formatVerified(result, args.bundle, flags.registry));
    return result;
  }

  async #verify(
    path: string,
    target: ReturnType<typeof parseRegistryTarget> | undefined,
    flags: VerifyFlags,
  ): Promise<VerifyResult> {
    using session = this.begin("verify", flags);
    await using bundle = await openInput(path, {
      tag: flags.tag,
      named: target !== undefined,
      allowMissing: flags["allow-missing"],
      signal: session.signal,
      onNote: session.note,
      onProved: provedInPassing(session.emit),
    });
    await using registries = new Registries(flags, new Map(), session);
    if (target !== undefined) await registries.prepare([target.host]);
    await using bases = await BaseBundles.open(flags.base ?? []);
    const { bundles } = bases;
    return await verifyBundle(bundle, registries, session, {
      template: flags.name,
      target,
      bases: bundles,
      allowMissing: flags["allow-missing"],
    });
  }
}

type VerifyFlags = RegistryFlags & {
  readonly quiet: boolean;
  readonly name: string | undefined;
  readonly base: readonly string[] | undefined;
  readonly tag: string | undefined;
  readonly "allow-missing": boolean;
};
