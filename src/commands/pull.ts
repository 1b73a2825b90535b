import { Args, Flags } from "@oclif/core";
import { MirrorCommand } from "../cli/base-command.ts";
import { bundlePath, pipeName } from "../cli/bundle-path.ts";
import {
  argumentOnly,
  baseFlag,
  contentFlags,
  contentRules,
  failFastFlag,
  namingFlags,
  registryFlags,
  reuseFlags,
  selectionFlags,
  transferFlags,
} from "../cli/flags.ts";
import { type PullResult, pullBundle } from "../cli/pull-bundle.ts";
import { pullToPipe } from "../cli/pull-to-pipe.ts";
import { Registries } from "../cli/registries.ts";
import { planRequests, readSelection } from "../cli/requests.ts";
import { standardOutput } from "../cli/standard-output.ts";
import { volumeSize } from "../cli/volume-size.ts";
import { AppError } from "../errors.ts";
import { parsePlatform } from "../oci/platform.ts";

export default class Pull extends MirrorCommand {
  static override summary = "pull images from registries into one bundle file";
  static override description =
    `Reads the image list, fetches every platform of every image (or those that the list chooses), proves each digest, and writes one plain OCI tar that docker load, ctr images import, podman load, skopeo and oras take as it is. The file appears under its name only when all of it is proved.`;
  static override examples = [
    "<%= config.bin %> <%= command.id %> --to bundle.tar",
    "<%= config.bin %> <%= command.id %> --file images.txt --platform linux/amd64 --to bundle.tar",
    "<%= config.bin %> <%= command.id %> --to /media/usb/bundle.tar --volume-size 4GB",
    "<%= config.bin %> <%= command.id %> nginx:1.27-alpine registry.k8s.io/pause:3.10 --to bundle.tar",
    "<%= config.bin %> <%= command.id %> --base october.tar --to november.tar",
    "<%= config.bin %> <%= command.id %> --to - | ssh far mirror push - --registry registry.internal:5000",
    "<%= config.bin %> <%= command.id %> --base receipt.json --to - | ssh far mirror push - --registry registry.internal:5000",
  ];
  static override strict = false;
  static override args = {
    image: Args.string({ ...argumentOnly, description: "image to pull, instead of a list (repeatable)" }),
  };
  static override flags = {
    to: Flags.string({
      required: true,
      summary: "bundle to write; - is standard output",
      helpValue: "FILE",
      env: "MIRROR_TO",
    }),
    "volume-size": Flags.string({
      summary: "write volumes of this size, FILE.001 and so on, for media or file systems that take no more",
      helpValue: "SIZE",
      env: "MIRROR_VOLUME_SIZE",
    }),
    "docker-platform": Flags.string({
      summary:
        "offer docker load this platform of every image (linux/amd64 if left out, or else its first for Linux)",
      helpValue: "OS/ARCH[/VARIANT]",
      env: "MIRROR_DOCKER_PLATFORM",
    }),
    "keep-going": Flags.boolean({
      summary: "write the bundle without the images that fail",
      env: "MIRROR_KEEP_GOING",
    }),
    ...reuseFlags,
    ...baseFlag,
    ...selectionFlags,
    ...namingFlags,
    ...contentFlags,
    ...failFastFlag,
    ...registryFlags,
    ...transferFlags,
  };

  override async run(): Promise<PullResult> {
    const { flags, argv } = await this.parse(Pull);
    const path = bundlePath(flags.to);
    if (path === pipeName) refuseForPipe(flags);
    if (path === pipeName && this.jsonEnabled()) {
      throw new AppError("USAGE", "Cannot print the result as JSON: standard output is the bundle", {
        hint: "leave out --json, or write the bundle to a file: --to bundle.tar",
      });
    }
    const volumeBytes = volumeSize(flags["volume-size"]);
    const docker = flags["docker-platform"];
    const dockerPlatform = docker === undefined ? undefined : parsePlatform(docker);
    const output = path === pipeName ? standardOutput() : undefined;
    // Whoever reads the pipe has the bars.
    using session = this.begin("pull", flags, { plain: output !== undefined });
    const list = await readSelection(argv as string[], flags);
    const requests = planRequests(list.images, { template: flags.name });
    await using registries = new Registries(flags, list.registries, session);
    await registries.prepare(requests.map(({ host }) => host));
    const options = {
      keepGoing: flags["keep-going"],
      failFast: flags["fail-fast"],
      reuse: flags.reuse ?? [],
      dockerPlatform,
      base: flags.base ?? [],
      content: contentRules(flags),
    };
    return output === undefined
      ? await pullBundle(requests, registries, session, {
          ...options,
          path,
          volumeBytes,
          fresh: flags.fresh,
        })
      : await pullToPipe(requests, registries, session, { ...options, output });
  }
}

/** Throws USAGE for what only files can be. */
function refuseForPipe(flags: { readonly "volume-size": string | undefined }): void {
  if (flags["volume-size"] === undefined) return;
  throw new AppError("USAGE", "Cannot write volumes to standard output", {
    hint: "leave out --volume-size, or write to a file: --to bundle.tar",
  });
}
