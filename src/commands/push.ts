import { Args } from "@oclif/core";
import { BundleReader } from "../bundle/reader.ts";
import { MirrorCommand } from "../cli/base-command.ts";
import { pipeName } from "../cli/bundle-path.ts";
import { bundleContent, bundleRequests } from "../cli/bundle-plan.ts";
import { copyToRegistry } from "../cli/copy-to-registry.ts";
import {
  argumentOnly,
  failFastFlag,
  namingFlags,
  registryFlags,
  targetFlag,
  transferFlags,
} from "../cli/flags.ts";
import { openPipedBundle, pipedSide } from "../cli/piped-bundle.ts";
import { Registries } from "../cli/registries.ts";
import { parseRegistryTarget } from "../cli/requests.ts";
import { Session } from "../cli/session.ts";
import type { TransferResult } from "../cli/transfer.ts";

export default class Push extends MirrorCommand {
  static override summary = "push a bundle into a registry";
  static override description =
    `Reads every blob straight from its place in the bundle, proves it on the way, and sends what the registry lacks. Tags are set last, so none ever points at something incomplete. Images that are there already cost one request.`;
  static override examples = [
    "<%= config.bin %> <%= command.id %> bundle.tar --registry 10.141.241.175:32000",
    "<%= config.bin %> <%= command.id %> bundle.tar --registry registry.internal:5000/mirror --ca-file ca.pem",
  ];
  static override args = {
    bundle: Args.string({
      ...argumentOnly,
      required: true,
      description: "bundle that mirror pull wrote; - is standard input",
    }),
  };
  static override flags = {
    ...targetFlag,
    ...namingFlags,
    ...failFastFlag,
    ...registryFlags,
    ...transferFlags,
  };

  override async run(): Promise<TransferResult> {
    const { flags, args } = await this.parse(Push);
    const target = parseRegistryTarget(flags.registry);
    using session = new Session({
      quiet: flags.quiet || this.jsonEnabled(),
      verb: "push",
      again: this.typed,
    });
    await using bundle =
      args.bundle === pipeName ? await openPipedBundle() : await BundleReader.open(args.bundle);
    await using registries = new Registries(flags, new Map(), session);
    await registries.prepare([target.host]);
    const requests = bundleRequests(bundle, { template: flags.name, prefix: target.prefix });
    return await copyToRegistry(
      requests,
      bundle instanceof BundleReader
        ? { request: () => bundle, image: () => bundle, limits: () => [] }
        : pipedSide(bundle),
      registries,
      session,
      {
        target,
        failFast: flags["fail-fast"],
        content: bundleContent(bundle),
      },
    );
  }
}
