import { Args } from "@oclif/core";
import pLimit from "p-limit";
import { baseOf, leavesOut } from "../bundle/delta.ts";
import { imageName } from "../bundle/metadata.ts";
import { MirrorCommand } from "../cli/base-command.ts";
import { type BaseFigures, baseFigures, leansOn } from "../cli/base-figures.ts";
import { archiveFlags, argumentOnly, registryFlags } from "../cli/flags.ts";
import { openToShow } from "../cli/open-input.ts";
import { findPlace } from "../cli/place.ts";
import { Registries } from "../cli/registries.ts";
import type { Session } from "../cli/session.ts";
import { type AppError, isAppError } from "../errors.ts";
import { listRepositories, listTags } from "../registry/listing.ts";
import { formatBytes, table } from "../report/format.ts";
import { describeImage } from "../sync/describe.ts";

/** One line of the listing. */
interface Listed {
  readonly image: string;
  readonly digest?: string;
  readonly platforms?: readonly string[];
  readonly size?: number;
}

interface Listing {
  readonly images: readonly Listed[];
  /** What the bundle leans on, if it is a delta. */
  readonly base?: BaseFigures;
}

export default class Ls extends MirrorCommand {
  static override summary = "list the images of a bundle, an archive, a registry or a repository";
  static override description =
    `A bundle gives a table with digests, platforms and sizes. A registry or a repository gives one reference a line, which is an image list as it stands: mirror ls HOST | mirror pull -f - --to bundle.tar`;
  static override examples = [
    "<%= config.bin %> <%= command.id %> bundle.tar",
    "<%= config.bin %> <%= command.id %> 10.141.241.175:32000",
    "<%= config.bin %> <%= command.id %> registry.internal:5000/library/nginx",
  ];
  static override args = {
    place: Args.string({
      ...argumentOnly,
      required: true,
      description: "bundle, HOST[:PORT] or HOST[:PORT]/REPOSITORY; - is standard input",
    }),
  };
  static override flags = { ...archiveFlags, ...registryFlags };

  override async run(): Promise<Listing> {
    const { flags, args } = await this.parse(Ls);
    using session = this.begin("list", flags);
    const place = await findPlace(args.place);
    if (place.kind === "bundle") return await this.#bundle(place.path, flags.tag, session);
    await using registries = new Registries(flags, new Map(), session);
    await registries.prepare([place.host]);
    const client = registries.client(place.host);
    const repositories =
      place.kind === "repository" ? [place.repository] : await listRepositories(client, session.signal);
    const failures: AppError[] = [];
    const tags = await pLimit(8).map(repositories, async (repository) => {
      try {
        return await listTags(client, repository, session.signal);
      } catch (error) {
        // A catalog names repositories that are empty or not ours to read: they have nothing to list.
        if (place.kind === "repository" || session.signal.aborted || !isAppError(error)) throw error;
        failures.push(error);
        session.emit({ type: "warning", message: error.message, hint: error.hint });
        return [];
      }
    });
    const broken = failures.find((error) => error.code !== "NOT_FOUND");
    if (broken !== undefined && failures.length === repositories.length) throw broken;
    const images = repositories.flatMap((repository, at) =>
      (tags[at] ?? []).map((tag) => ({ image: `${place.host}/${repository}:${tag}` })),
    );
    for (const { image } of images) this.log(image);
    return { images };
  }

  async #bundle(path: string, tag: string | undefined, session: Session): Promise<Listing> {
    const { signal } = session;
    await using bundle = await openToShow(path, tag, session);
    const images: Listed[] = [];
    for (const image of bundle.images) {
      signal.throwIfAborted();
      const name = imageName(image);
      const { digest, size, manifests } = await describeImage(bundle, image.root.digest, name, {
        signal,
        isLeftOut: (blob) => leavesOut(bundle, blob),
      });
      images.push({
        image: name,
        digest,
        platforms: manifests.flatMap(({ platform }) => platform ?? []),
        size,
      });
    }
    const rows = images.map(({ image, digest = "", platforms = [], size = 0 }) => [
      image,
      digest.slice(0, 19),
      platforms.join(" "),
      formatBytes(size),
    ]);
    this.log(
      table([["IMAGE", "DIGEST", "PLATFORMS", "SIZE"], ...rows], {
        align: ["left", "left", "left", "right"],
      }),
    );
    const base = baseOf(bundle);
    if (base === undefined) return { images };
    this.log(`${bundle.path} is a delta: ${leansOn(base)}`);
    return { images, base: baseFigures(base) };
  }
}
