import { Args } from "@oclif/core";
import { type BundleBase, baseOf, leavesOut } from "../bundle/delta.ts";
import { noSuchImage } from "../bundle/find-image.ts";
import { type BundleImage, imageName } from "../bundle/metadata.ts";
import { MirrorCommand } from "../cli/base-command.ts";
import { type BaseFigures, baseFigures, leansOn } from "../cli/base-figures.ts";
import { pipeName } from "../cli/bundle-path.ts";
import { formatDescription } from "../cli/description.ts";
import { archiveFlags, argumentOnly, registryFlags } from "../cli/flags.ts";
import { openToShow } from "../cli/open-input.ts";
import { findImage } from "../cli/place.ts";
import { Registries } from "../cli/registries.ts";
import type { Session } from "../cli/session.ts";
import { isAppError } from "../errors.ts";
import type { Digest } from "../oci/digest.ts";
import { formatReference, parseReference, tagOrDigest } from "../oci/reference.ts";
import { listReferrers } from "../registry/referrers.ts";
import type { RegistryRepository } from "../registry/repository.ts";
import {
  describeImage,
  type ImageDescription,
  IncompleteImages,
  type ReferrerDescription,
} from "../sync/describe.ts";

/** What refers to an image; undefined, with a warning, where the registry does not tell: the image is there. */
async function findReferrers(
  { client, repository }: RegistryRepository,
  subject: Digest,
  session: Session,
): Promise<readonly ReferrerDescription[] | undefined> {
  try {
    const found = await listReferrers({ client, repository }, subject, { signal: session.signal });
    return found.map(({ descriptor: { digest, mediaType, size }, artifactType, tag }) => ({
      digest,
      mediaType,
      size,
      ...(artifactType === undefined ? {} : { artifactType }),
      ...(tag === undefined ? {} : { tag }),
    }));
  } catch (error) {
    if (!isAppError(error) || error.code === "INTERRUPTED") throw error;
    session.emit({ type: "warning", message: error.message, hint: error.hint });
    return undefined;
  }
}

/** True if the text names the image: by its full name or a shorter one, or by what an archive without names has. */
function isCalled(image: BundleImage, wanted: string): boolean {
  if (image.source === wanted || image.root.digest === wanted) return true;
  const name = formatReference(parseReference(wanted));
  return imageName(image) === name || image.source === name;
}

export default class Inspect extends MirrorCommand {
  static override summary =
    "show what an image is made of: platforms, layers, sizes, digests, and what refers to it";
  static override examples = [
    "<%= config.bin %> <%= command.id %> nginx:1.27-alpine",
    "<%= config.bin %> <%= command.id %> 10.141.241.175:32000/library/nginx:1.27-alpine",
    "<%= config.bin %> <%= command.id %> bundle.tar",
    "<%= config.bin %> <%= command.id %> bundle.tar docker.io/library/nginx:1.27-alpine",
  ];
  static override args = {
    target: Args.string({
      ...argumentOnly,
      required: true,
      description: "image in a registry, or bundle or archive; - is standard input",
    }),
    image: Args.string({ ...argumentOnly, description: "one image of the bundle; all of them if left out" }),
  };
  static override flags = { ...archiveFlags, ...registryFlags };

  /** What the bundle leans on, if it is a delta. */
  #base: BundleBase | undefined;

  override async run(): Promise<{
    readonly images: readonly ImageDescription[];
    readonly base?: BaseFigures;
  }> {
    const { flags, args } = await this.parse(Inspect);
    using session = this.begin("inspect", flags);
    const found = await findImage(args.target);
    const images =
      found.kind === "bundle"
        ? await this.#bundle(found.path, args.image, session, flags.tag)
        : await this.#registry(found.reference, session, flags);
    this.log(images.map(formatDescription).join("\n\n"));
    if (images.some(({ missing }) => missing !== undefined)) throw new IncompleteImages(images);
    if (found.kind !== "bundle" || this.#base === undefined) return { images };
    const name = found.path === pipeName ? "standard input" : found.path;
    this.log(`\n${name} is a delta: ${leansOn(this.#base)}`);
    return { images, base: baseFigures(this.#base) };
  }

  async #bundle(
    path: string,
    wanted: string | undefined,
    session: Session,
    tag: string | undefined,
  ): Promise<readonly ImageDescription[]> {
    const { signal } = session;
    await using bundle = await openToShow(path, tag, session);
    this.#base = baseOf(bundle);
    const images = bundle.images.filter((image) => wanted === undefined || isCalled(image, wanted));
    if (images.length === 0) throw noSuchImage({ path }, wanted ?? "an image");
    const described: ImageDescription[] = [];
    for (const image of images) {
      signal.throwIfAborted();
      described.push(
        await describeImage(bundle, image.root.digest, imageName(image), {
          signal,
          isLeftOut: (blob) => leavesOut(bundle, blob),
        }),
      );
    }
    return described;
  }

  async #registry(
    reference: ReturnType<typeof parseReference>,
    session: Session,
    flags: ConstructorParameters<typeof Registries>[0],
  ): Promise<readonly ImageDescription[]> {
    await using registries = new Registries(flags, new Map(), session);
    await registries.prepare([reference.registry]);
    const source = registries.repository(reference.registry, reference.repository);
    const call = { signal: session.signal };
    const image = await describeImage(source, tagOrDigest(reference), formatReference(reference), call);
    const referrers = await findReferrers(source, image.digest, session);
    return [referrers === undefined ? image : { ...image, referrers }];
  }
}
