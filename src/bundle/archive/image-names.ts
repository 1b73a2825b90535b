/** What the images of an archive are called: by the archive, and where it has no name, by the user. */
import { AppError } from "../../errors.ts";
import type { Descriptor } from "../../oci/descriptor.ts";
import { shortDigest } from "../../oci/digest.ts";
import { formatReference, isTag, parseReference, type Reference } from "../../oci/reference.ts";
import type { BundleImage } from "../metadata.ts";
import { shownName, unreadArchive } from "./archive-error.ts";

/** An image of an archive with what the archive calls it. */
export interface Root {
  readonly descriptor: Descriptor;
  readonly name: RootName;
}

export type RootName =
  /** A full name. */
  | { readonly kind: "named"; readonly reference: Reference }
  /** A tag without a repository, as an OCI layout of one repository has it. */
  | { readonly kind: "tag"; readonly tag: string }
  /** It belongs to an image of this repository (undefined: one without a name), and is found by its digest. */
  | { readonly kind: "digest"; readonly of: Reference | undefined }
  | { readonly kind: "none" };

export interface NameOptions {
  /** `NAME[:TAG]` as the user wrote it. */
  readonly tag?: string | undefined;
  /** True if every image has to have a name, because it is looked for or put under it. */
  readonly named?: boolean | undefined;
}

/** The name that an archive gives, by what it calls a full reference or a tag. Throws BUNDLE for what is no name. */
export function rootName(text: string, path: string): RootName {
  if (isTag(text)) return { kind: "tag", tag: text };
  return { kind: "named", reference: archiveReference(text, path) };
}

/** A reference out of an archive. Throws BUNDLE if it is none. */
export function archiveReference(text: string, path: string): Reference {
  try {
    return parseReference(text);
  } catch (error) {
    const reason = error instanceof Error ? error.message.replace(/^.*?": /, "") : "it is no reference";
    throw unreadArchive(path, `an image in it is called ${shownName(text)}, which is no name: ${reason}`);
  }
}

/** Gives every image its name and its place in a target. Throws USAGE where a name has to come from the user. */
export function nameImages(
  roots: readonly Root[],
  path: string,
  options: NameOptions,
): readonly BundleImage[] {
  const named = options.tag === undefined ? roots : applyTag(roots, path, parseTag(options.tag));
  const nameless = named.filter(({ name }) => name.kind === "none" || name.kind === "tag");
  if (options.named === true && nameless.length > 0) throw needsName(nameless, path);
  const images = new Map<string, BundleImage>();
  for (const root of named) {
    const image = imageOf(root);
    images.set(`${image.source} ${root.descriptor.digest}`, image);
  }
  return [...images.values()];
}

interface WantedName {
  readonly text: string;
  readonly reference: Reference;
  /** The tag, if the user wrote one. */
  readonly tag: string | undefined;
}

function parseTag(text: string): WantedName {
  const reference = parseReference(text);
  if (reference.digest !== undefined)
    throw new AppError("USAGE", `Cannot use --tag ${text}: it holds a digest`, {
      hint: "write it as NAME[:TAG]",
    });
  const written = text.lastIndexOf(":") > text.lastIndexOf("/");
  return { text, reference, tag: written ? reference.tag : undefined };
}

function applyTag(roots: readonly Root[], path: string, wanted: WantedName): readonly Root[] {
  const nameless = roots.filter(({ name }) => name.kind === "none" || name.kind === "tag");
  const meant = nameless.length > 0 ? nameless : roots.filter(({ name }) => name.kind === "named");
  const digests = new Set(meant.map(({ descriptor }) => descriptor.digest));
  // Several tags of one repository: their images keep them, and get the repository.
  const keepTags = wanted.tag === undefined && meant.every(({ name }) => name.kind === "tag");
  if (digests.size > 1 && !keepTags) {
    throw new AppError(
      "USAGE",
      `Cannot call the images of ${path} ${wanted.text}: it holds ${digests.size} of them: ${list(meant)}`,
      { hint: "leave --tag out, or save one image into an archive" },
    );
  }
  const tagOf = ({ name }: Root): string => wanted.tag ?? (name.kind === "tag" ? name.tag : "latest");
  const { registry, repository } = wanted.reference;
  return roots.map((root) => {
    if (root.name.kind === "digest" && root.name.of === undefined)
      return { ...root, name: { kind: "digest", of: wanted.reference } };
    if (!meant.includes(root)) return root;
    return { ...root, name: { kind: "named", reference: { registry, repository, tag: tagOf(root) } } };
  });
}

function imageOf({ descriptor, name }: Root): BundleImage {
  const root = { mediaType: descriptor.mediaType, digest: descriptor.digest, size: descriptor.size };
  if (name.kind === "named") {
    const { registry, repository, tag } = name.reference;
    const known = tag === undefined ? { digest: descriptor.digest } : { tag };
    const target = { repository, ...(tag === undefined ? {} : { tag }) };
    return { source: formatReference({ registry, repository, ...known }), target, root };
  }
  if (name.kind === "digest" && name.of !== undefined) {
    const { registry, repository } = name.of;
    const source = formatReference({ registry, repository, digest: descriptor.digest });
    return { source, target: { repository }, root };
  }
  const source = name.kind === "tag" ? name.tag : descriptor.digest;
  return { source, target: { repository: "unnamed" }, root, unnamed: true };
}

function needsName(nameless: readonly Root[], path: string): AppError {
  const several = new Set(nameless.map(({ descriptor }) => descriptor.digest)).size > 1;
  const tags = nameless.every(({ name }) => name.kind === "tag");
  const state = tags ? "it has tags without a repository" : "it has no name for what is in it";
  return new AppError(
    "USAGE",
    `Cannot tell what the images of ${path} are called: ${state}: ${list(nameless)}`,
    {
      hint:
        several && !tags
          ? "save each of them into an archive of its own, or give them names before they are saved"
          : `name ${several ? "their repository: --tag NAME" : "it: --tag NAME[:TAG]"}`,
    },
  );
}

const shownImages = 20;

function list(roots: readonly Root[]): string {
  const shown = new Set(
    roots.map(({ descriptor, name }) => {
      if (name.kind === "named") return formatReference(name.reference);
      return name.kind === "tag" ? name.tag : shortDigest(descriptor.digest);
    }),
  );
  const more = shown.size - shownImages;
  return `${[...shown].slice(0, shownImages).join(", ")}${more > 0 ? ` and ${more} more` : ""}`;
}
