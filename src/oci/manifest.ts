/**
 * Manifests and indexes. They are parsed to find what they lead to, and travel as the bytes that came: nothing
 * here ever serialises a parsed manifest back, since zod drops unknown fields and the digest would change.
 */
import { z } from "zod";
import { AppError } from "../errors.ts";
import { Descriptor } from "./descriptor.ts";
import { parseObject } from "./json.ts";
import {
  bareMediaType,
  isIndexType,
  isManifestOrIndexType,
  isSchema1Type,
  mediaTypes,
} from "./media-types.ts";

/** No manifest larger than this is read, in bytes (protocol: registries take 4 MiB, readers cap at 4 to 8 MiB). */
export const maxManifestBytes = 8 * 1024 * 1024;
/** Most registries take no manifest larger than this, in bytes (distribution, zot, ACR). */
export const usualManifestBytes = 4 * 1024 * 1024;
/** A manifest that leads to more than this is refused, and an image of more parts: no real one comes near. */
export const maxDescriptors = 10_000;
/** Nested indexes go this deep in no real image. */
export const maxIndexDepth = 8;

const descriptors = z
  .array(Descriptor)
  .max(maxDescriptors, `more than the ${maxDescriptors} entries that are read of one manifest`);

const annotations = z.record(z.string(), z.string()).nullish();
const Index = z.object({
  manifests: descriptors,
  artifactType: z.string().optional(),
  subject: Descriptor.nullish(),
  annotations,
});
const Manifest = z.object({
  config: Descriptor,
  layers: descriptors.nullish(),
  artifactType: z.string().optional(),
  subject: Descriptor.nullish(),
  annotations,
});
const Artifact = z.object({
  blobs: descriptors.nullish(),
  artifactType: z.string().optional(),
  subject: Descriptor.nullish(),
  annotations,
});

/** A parsed index: its children in order. */
export interface ParsedIndex {
  readonly kind: "index";
  readonly mediaType: string;
  readonly manifests: readonly Descriptor[];
  readonly artifactType?: string | undefined;
  readonly annotations?: Readonly<Record<string, string>> | undefined;
  readonly subject?: Descriptor | undefined;
}

/** A parsed image or artifact manifest; an OCI artifact manifest has no config, and its blobs are the layers. */
export interface ParsedManifest {
  readonly kind: "manifest";
  readonly mediaType: string;
  readonly config?: Descriptor | undefined;
  readonly layers: readonly Descriptor[];
  readonly artifactType?: string | undefined;
  readonly annotations?: Readonly<Record<string, string>> | undefined;
  readonly subject?: Descriptor | undefined;
}

export type Parsed = ParsedIndex | ParsedManifest;

/**
 * Parses a manifest or an index.
 *
 * `contentType` is a hint (a header or a descriptor's media type): the document's own `mediaType` wins, as the
 * image-spec wants, and what has neither is told by its shape. Throws INTEGRITY for what is no manifest, is
 * ambiguous (both `manifests` and `layers`: CVE-2021-41190), or holds a bad descriptor; REGISTRY for schema 1.
 */
export function parseManifest(bytes: Uint8Array, contentType: string, name: string): Parsed {
  const document = parseJson(bytes, name);
  const mediaType = typeOf(document, bareMediaType(contentType), name);
  const has = (key: string): boolean => document[key] !== undefined && document[key] !== null;
  if (has("manifests") && (has("layers") || has("config"))) {
    throw new AppError("INTEGRITY", `Cannot read manifest ${name}: it is an index and an image at once`);
  }
  try {
    if (isIndexType(mediaType)) {
      const index = Index.parse(document);
      return { kind: "index", mediaType, manifests: index.manifests, ...about(index) };
    }
    if (mediaType === mediaTypes.ociArtifact) {
      const artifact = Artifact.parse(document);
      return {
        kind: "manifest",
        mediaType,
        layers: artifact.blobs ?? [],
        ...about(artifact),
      };
    }
    const manifest = Manifest.parse(document);
    return {
      kind: "manifest",
      mediaType,
      config: manifest.config,
      layers: manifest.layers ?? [],
      ...about(manifest),
    };
  } catch (error) {
    if (!(error instanceof z.ZodError)) throw error;
    const first = error.issues[0];
    const place = first === undefined ? "" : ` at ${first.path.join(".") || "the top"}: ${first.message}`;
    throw new AppError("INTEGRITY", `Cannot read manifest ${name}: bad field${place}`, { cause: error });
  }
}

/** What every kind of manifest may say about itself. */
function about(document: {
  readonly artifactType?: string | undefined;
  readonly annotations?: Readonly<Record<string, string>> | null | undefined;
  readonly subject?: Descriptor | null | undefined;
}): Pick<ParsedManifest, "artifactType" | "annotations" | "subject"> {
  return {
    artifactType: document.artifactType,
    annotations: document.annotations ?? undefined,
    subject: document.subject ?? undefined,
  };
}

/** What must exist before this manifest may be pushed: children of an index, or config and layers. */
export function successors(parsed: Parsed): readonly Descriptor[] {
  if (parsed.kind === "index") return parsed.manifests;
  return parsed.config === undefined ? parsed.layers : [parsed.config, ...parsed.layers];
}

function parseJson(bytes: Uint8Array, name: string): Record<string, unknown> {
  try {
    return parseObject(bytes);
  } catch (error) {
    const state = error instanceof Error ? error.message : String(error);
    throw new AppError("INTEGRITY", `Cannot read manifest ${name}: ${state}`, { cause: error });
  }
}

function typeOf(document: Record<string, unknown>, contentType: string, name: string): string {
  const own = typeof document["mediaType"] === "string" ? document["mediaType"] : undefined;
  if (document["schemaVersion"] === 1 || isSchema1Type(own ?? contentType)) {
    throw new AppError(
      "REGISTRY",
      `Cannot copy ${name}: it is a Docker schema 1 image, which registries no longer take`,
      {
        hint: "pull it with an old Docker, push it again to convert it, and list that image",
      },
    );
  }
  if (own !== undefined && isManifestOrIndexType(own)) return own;
  if (isManifestOrIndexType(contentType)) return contentType;
  if (Array.isArray(document["manifests"])) return mediaTypes.ociIndex;
  if (document["config"] !== undefined) return mediaTypes.ociManifest;
  throw new AppError(
    "INTEGRITY",
    `Cannot read manifest ${name}: it has none of the fields of a manifest or an index`,
  );
}
