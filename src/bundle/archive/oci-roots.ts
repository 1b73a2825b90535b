/** The images of an OCI image layout: what its `index.json` names, by the annotations that the tools write. */
import { z } from "zod";
import { readAll } from "../../content/verify.ts";
import { AppError } from "../../errors.ts";
import type { Descriptor } from "../../oci/descriptor.ts";
import type { Digest } from "../../oci/digest.ts";
import { parseObject } from "../../oci/json.ts";
import { maxIndexDepth, maxManifestBytes, type Parsed, parseManifest } from "../../oci/manifest.ts";
import { isManifestOrIndexType } from "../../oci/media-types.ts";
import { formatReference, type Reference } from "../../oci/reference.ts";
import { blobPath } from "../layout.ts";
import { damagedArchive, unreadArchive } from "./archive-error.ts";
import { type ArchiveFiles, readSmall } from "./archive-files.ts";
import { archiveReference, type Root, type RootName, rootName } from "./image-names.ts";

const Layout = z.object({ imageLayoutVersion: z.string() });
const layoutVersion = "1.0.0";

/** cosign's tags, by the kind that hauler gives what lies under them (hauler pkg/consts). */
const cosignEndings: Readonly<Record<string, string>> = { sigs: "sig", atts: "att", sboms: "sbom" };
const haulerKind = /^dev\.(?:hauler|cosignproject\.cosign)\/([a-z]+)/i;

/**
 * Reads `index.json`. `tagsOf` gives the names that Docker's manifest.json has for the image of a config. Throws BUNDLE
 * for another version of the layout, INTEGRITY for an index that cannot be read.
 */
export async function readOciRoots(
  files: ArchiveFiles,
  tagsOf: (config: Digest) => readonly string[],
): Promise<readonly Root[]> {
  const { path } = files;
  const layout = files.find("oci-layout");
  // Left out by hauler save --containerd, and not missed by skopeo.
  if (layout !== undefined) checkLayout(await readSmall(files, layout), path);
  const file = files.find("index.json");
  if (file === undefined) throw damagedArchive(path, "it has an oci-layout and no index.json");
  const index = parse(await readSmall(files, file), "", `index.json of ${path}`, path);
  if (index.kind !== "index") throw damagedArchive(path, "its index.json is no index");
  if (index.manifests.length === 0) throw unreadArchive(path, "there is no image in it");
  const roots = index.manifests.map((descriptor) => ({ descriptor, name: ownName(descriptor, path) }));
  if (roots.every(({ name }) => name.kind === "named")) return cosigned(roots);
  return await completed(cosigned(roots), files, tagsOf);
}

function checkLayout(bytes: Buffer, path: string): void {
  let version: unknown;
  try {
    version = Layout.parse(parseObject(bytes)).imageLayoutVersion;
  } catch (error) {
    throw damagedArchive(path, "its oci-layout cannot be read", error);
  }
  if (version !== layoutVersion) {
    const shown = JSON.stringify(String(version).slice(0, 40));
    throw unreadArchive(path, `it has OCI layout version ${shown}, and this program knows ${layoutVersion}`);
  }
}

/** `io.containerd.image.name` is a full name; `ref.name` is one or a tag alone (image-spec annotations.md). */
function ownName({ annotations }: Descriptor, path: string): RootName {
  const full = annotations?.["io.containerd.image.name"];
  const reference = annotations?.["org.opencontainers.image.ref.name"];
  if (full !== undefined && full !== "") return { kind: "named", reference: archiveReference(full, path) };
  return reference === undefined || reference === "" ? { kind: "none" } : rootName(reference, path);
}

/** hauler keeps signatures under the name of their image, and says by `kind` that they are some. */
function cosigned(roots: readonly Root[]): readonly Root[] {
  const kindOf = ({ descriptor }: Root): string =>
    haulerKind.exec(descriptor.annotations?.["kind"] ?? "")?.[1] ?? "";
  const images = new Map<string, Digest>();
  for (const root of roots)
    if (root.name.kind === "named" && /^image/i.test(kindOf(root)))
      images.set(formatReference(root.name.reference), root.descriptor.digest);
  return roots.map((root) => {
    const kind = kindOf(root);
    if (root.name.kind !== "named") return root;
    const { registry, repository } = root.name.reference;
    if (kind === "referrers") return { ...root, name: { kind: "digest", of: root.name.reference } };
    const ending = cosignEndings[kind];
    const image = images.get(formatReference(root.name.reference));
    if (ending === undefined || image === undefined) return root;
    const tag = `${image.replace(":", "-")}.${ending}`;
    return { ...root, name: { kind: "named", reference: { registry, repository, tag } } };
  });
}

/** Names for the rest: by Docker's list, by what they are about, or none for what is a part of another one. */
async function completed(
  roots: readonly Root[],
  files: ArchiveFiles,
  tagsOf: (config: Digest) => readonly string[],
): Promise<readonly Root[]> {
  const graph = new Graph(files);
  const parts = new Set<Digest>();
  // Repositories of the images and their parts; undefined for those that the user has to name.
  const homes = new Map<Digest, Reference | undefined>();
  for (const { descriptor, name } of roots) {
    const below = await graph.below(descriptor);
    for (const digest of below) parts.add(digest);
    if (name.kind === "none" || name.kind === "digest") continue;
    const home = name.kind === "named" ? name.reference : undefined;
    for (const digest of [descriptor.digest, ...below]) homes.set(digest, home);
  }
  const nameOf = async ({ descriptor, name }: Root): Promise<readonly RootName[]> => {
    if (name.kind !== "none") return [name];
    // oras lists every manifest, those inside of an index too.
    if (parts.has(descriptor.digest)) return [];
    const found = await graph.look(descriptor);
    const tags = found?.config === undefined ? [] : tagsOf(found.config);
    if (tags.length > 0)
      return tags.map((tag) => ({ kind: "named", reference: archiveReference(tag, files.path) }));
    const subject = found?.subject;
    if (subject === undefined || !homes.has(subject)) return [name];
    homes.set(descriptor.digest, homes.get(subject));
    return [{ kind: "digest", of: homes.get(subject) }];
  };
  const found: Root[] = [];
  for (const root of roots) for (const name of await nameOf(root)) found.push({ ...root, name });
  return found;
}

/** No more manifests than this are read to find out what belongs together, in bytes. */
const maxGraphBytes = 256 * 1024 * 1024;

/** What of a manifest matters here: the rest of many of them would fill the memory. */
interface Seen {
  readonly children: readonly Pick<Descriptor, "mediaType" | "digest">[];
  readonly config: Digest | undefined;
  readonly subject: Digest | undefined;
}

/** The manifests that are there, read once. */
class Graph {
  readonly #files: ArchiveFiles;
  readonly #seen = new Map<Digest, Seen | undefined>();
  #bytes = 0;

  constructor(files: ArchiveFiles) {
    this.#files = files;
  }

  /** Undefined for what is not there, or cannot be read: whoever copies it says so. */
  async look({ digest, mediaType }: Seen["children"][number]): Promise<Seen | undefined> {
    if (this.#seen.has(digest)) return this.#seen.get(digest);
    const file = this.#files.find(blobPath(digest));
    this.#bytes += file?.size ?? 0;
    let found: Seen | undefined;
    if (file !== undefined && this.#bytes <= maxGraphBytes && isManifestOrIndexType(mediaType)) {
      try {
        const bytes = await readAll(
          await this.#files.open(file),
          { mediaType, digest, size: file.size },
          maxManifestBytes,
        );
        found = seenIn(parseManifest(bytes, mediaType, digest));
      } catch (error) {
        if (!(error instanceof AppError) || error.code === "DISK") throw error;
      }
    }
    this.#seen.set(digest, found);
    return found;
  }

  /** Digests of all manifests below one, itself left out. */
  async below(root: Descriptor): Promise<ReadonlySet<Digest>> {
    const seen = new Set<Digest>();
    const visit = async (descriptor: Seen["children"][number], depth: number): Promise<void> => {
      const found = await this.look(descriptor);
      if (found === undefined || depth > maxIndexDepth) return;
      for (const child of found.children) {
        if (seen.has(child.digest) || child.digest === root.digest) continue;
        seen.add(child.digest);
        await visit(child, depth + 1);
      }
    };
    await visit(root, 0);
    return seen;
  }
}

function parse(bytes: Buffer, mediaType: string, name: string, path: string): Parsed {
  try {
    return parseManifest(bytes, mediaType, name);
  } catch (error) {
    if (error instanceof AppError && error.code === "INTEGRITY") throw error;
    throw damagedArchive(path, "its index.json cannot be read", error);
  }
}

function seenIn(parsed: Parsed): Seen {
  const children = parsed.kind === "index" ? parsed.manifests : [];
  return {
    children: children.map(({ mediaType, digest }) => ({ mediaType, digest })),
    config: parsed.kind === "manifest" ? parsed.config?.digest : undefined,
    subject: parsed.subject?.digest,
  };
}
