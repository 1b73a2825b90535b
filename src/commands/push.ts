import { Args } from "@oclif/core";
import { openBundle } from "../bundle/open.ts";
import { PipedArchive } from "../bundle/pipe/open-piped.ts";
import { PipeReader } from "../bundle/pipe/pipe-reader.ts";
import { MirrorCommand } from "../cli/base-command.ts";
import { pipeName } from "../cli/bundle-path.ts";
import { bundleContent, bundleRequests } from "../cli/bundle-plan.ts";
import { copyToRegistry } from "../cli/copy-to-registry.ts";
import { leaningSide } from "../cli/delta.ts";
import {
  allowMissingFlag,
  archiveFlags,
  argumentOnly,
  failFastFlag,
  namingFlags,
  registryFlags,
  stagingFlag,
  targetFlag,
  transferFlags,
} from "../cli/flags.ts";
import { openPipe, pipedSide } from "../cli/piped-bundle.ts";
import { Registries } from "../cli/registries.ts";
import { parseRegistryTarget } from "../cli/requests.ts";
import { stageArchive } from "../cli/staging.ts";
import type { TransferResult } from "../cli/transfer.ts";
import { keptIn, prepareVolumes } from "../cli/volume-problems.ts";

export default class Push extends MirrorCommand {
  static override summary = "push a bundle, or an archive of another tool, into a registry";
  static override description =
    `Reads every blob straight from its place in the bundle, proves it on the way, and sends what the registry lacks. Tags are set last, so none ever points at something incomplete. Images that are there already cost one request. Of a delta, it proves first that the registry has everything that the delta leans on, and otherwise says what is missing and moves nothing.

Takes what mirror pull, docker save, podman save, skopeo, oras backup, ctr images export, crane and hauler write, plain or compressed with gzip or zstd, and folders with an OCI image layout.`;
  static override examples = [
    "<%= config.bin %> <%= command.id %> bundle.tar --registry 10.141.241.175:32000",
    "<%= config.bin %> <%= command.id %> saved.tar.gz --tag team/app:1.0 --registry registry.internal:5000",
    "<%= config.bin %> <%= command.id %> /media/dvd/bundle.tar.003 --registry registry.internal:5000",
    "<%= config.bin %> <%= command.id %> bundle.tar --registry registry.internal:5000/mirror --ca-file ca.pem",
  ];
  static override args = {
    bundle: Args.string({
      ...argumentOnly,
      required: true,
      description: "bundle, archive of images, or folder with an OCI layout; - is standard input",
    }),
  };
  static override flags = {
    ...targetFlag,
    ...archiveFlags,
    ...allowMissingFlag,
    ...namingFlags,
    ...stagingFlag,
    ...failFastFlag,
    ...registryFlags,
    ...transferFlags,
  };

  override async run(): Promise<TransferResult> {
    const { flags, args } = await this.parse(Push);
    const target = parseRegistryTarget(flags.registry);
    using session = this.begin("push", flags);
    await using piped =
      args.bundle === pipeName ? await openPipe({ tag: flags.tag, signal: session.signal }) : undefined;
    // What comes through a pipe leaves nothing on the disk, notes neither.
    const stateIsReadOnly = piped !== undefined;
    await using registries = new Registries({ ...flags, stateIsReadOnly }, new Map(), session);
    await registries.prepare([target.host]);
    const allowMissing = flags["allow-missing"];
    const staged =
      piped instanceof PipedArchive
        ? await stageArchive(piped, registries, session, {
            target,
            staging: flags.staging,
            tag: flags.tag,
            template: flags.name,
            allowMissing,
          })
        : undefined;
    await using bundle =
      staged?.bundle ??
      (piped instanceof PipeReader
        ? piped
        : await openBundle(args.bundle, {
            tag: flags.tag,
            named: true,
            allowMissing,
            signal: session.signal,
            onNote: session.note,
            keptIn: keptIn(target),
          }));
    const requests = bundleRequests(bundle, { template: flags.name, prefix: target.prefix });
    const { source, prove } = leaningSide(bundle, registries, session, { target, template: flags.name });
    return await copyToRegistry(
      requests,
      bundle instanceof PipeReader
        ? pipedSide(bundle, source)
        : { request: () => bundle, image: () => source, limits: () => [] },
      registries,
      session,
      {
        target,
        failFast: flags["fail-fast"],
        bundle,
        content: { ...bundleContent(bundle), allowMissing },
        prove: staged?.prove ?? prove,
        volumes: prepareVolumes(bundle, session.emit),
      },
    );
  }
}
