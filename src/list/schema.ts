/**
 * The list as a zod schema: the one description of its keys. It checks and converts a list, and the JSON Schema
 * that editors use is made from it (test/tools/make-schema.ts), so the two cannot drift apart.
 */
import { z } from "zod";
import { AppError, isAppError } from "../errors.ts";
import { parsePlatform } from "../oci/platform.ts";
import { parseReference } from "../oci/reference.ts";
import { byteSizePattern, parseByteSize } from "./byte-size.ts";
import { checkLogin, loginKeys } from "./login.ts";
import { parseMirror, parseRegistryHost, parseTargetName } from "./target-name.ts";

/** The version of the list format that this program reads. */
export const listVersion = 1;

const minChunk = 64 * 1024;
const maxChunk = 1024 ** 4;
const chunkRange = "expected a size from 64KiB to 1024GiB";
const chunkForm = "expected a size such as 16MiB or 90MB, or a number of bytes";

/**
 * A transform that lets `parse` do the work and turns its AppError into an issue. Converting inside of the schema
 * reports a bad reference beside a bad key, in one go.
 */
function parsedBy<T>(parse: (text: string) => T) {
  return (text: string, context: z.RefinementCtx<string>): T => {
    try {
      return parse(text);
    } catch (error) {
      if (!isAppError(error)) throw error;
      context.addIssue({ code: "custom", message: error.message, input: text, params: { hint: error.hint } });
      return z.NEVER;
    }
  };
}

function parseChunkSize(text: string): number {
  const bytes = parseByteSize(text);
  if (bytes >= minChunk && bytes <= maxChunk) return bytes;
  throw new AppError("USAGE", `Cannot use chunkSize ${JSON.stringify(text)}: ${chunkRange}`);
}

const trueOrFalse = z.boolean("expected true or false");

const imageReference = z
  .string("expected an image reference")
  .transform(parsedBy(parseReference))
  .describe(
    "An image reference: [host[:port]/]repository[:tag][@digest]. nginx means docker.io/library/nginx:latest.",
  );

const platforms = z.array(
  z
    .string("expected a platform such as linux/amd64")
    .transform(parsedBy(parsePlatform))
    .describe("os/architecture[/variant], such as linux/amd64 or linux/arm/v7."),
  "expected a list such as [linux/amd64, linux/arm64]",
);

const pemFile = z.string("expected the path of a PEM file").min(1, "expected the path of a PEM file");

const Registry = z
  .strictObject(
    {
      concurrency: z
        .int("expected a whole number from 1 to 64")
        .min(1, "expected a whole number from 1 to 64")
        .max(64, "expected a whole number from 1 to 64")
        .exactOptional()
        .describe("How many requests may run at the same time."),
      plainHttp: trueOrFalse
        .exactOptional()
        .describe("Talk plain HTTP to this registry. Credentials for it then travel unencrypted."),
      insecure: trueOrFalse.exactOptional().describe("Talk HTTPS without checking the certificate."),
      caFile: z
        .string("expected the path of a PEM file")
        .min(1, "expected the path of a PEM file")
        .exactOptional()
        .describe(
          "A PEM file with further certificate authorities; a relative path starts at the list's folder.",
        ),
      clientCert: pemFile
        .exactOptional()
        .describe("A PEM file with the client certificate that this registry demands."),
      clientKey: pemFile.exactOptional().describe("The key of clientCert, a PEM file without a password."),
      chunkSize: z
        .union(
          [
            z.int().min(minChunk, chunkRange).max(maxChunk, chunkRange),
            z.string().regex(byteSizePattern, chunkForm).transform(parsedBy(parseChunkSize)),
          ],
          chunkForm,
        )
        .exactOptional()
        .describe(
          "Uploads go in chunks of this size: bytes, or a number with B, kB, KiB, MB, MiB, GB or GiB.",
        ),
      mirrors: z
        .array(
          z
            .string("expected a mirror such as mirror.internal:5000")
            .transform(parsedBy(parseMirror))
            .describe("host[:port][/prefix]. Its own settings and credentials are those of its host."),
          "expected a list such as [mirror.internal:5000]",
        )
        .exactOptional()
        .describe("Pull-through mirrors: asked for images of this registry first, in this order."),
      ...loginKeys,
    },
    "expected the settings of a registry, such as {plainHttp: true}",
  )
  .superRefine(({ clientCert, clientKey }, context) => {
    if ((clientCert === undefined) === (clientKey === undefined)) return;
    const [given, missing] =
      clientKey === undefined ? ["clientCert", "clientKey"] : ["clientKey", "clientCert"];
    context.addIssue({ code: "custom", path: [given], message: `${missing} is missing: they are a pair` });
  });

const Image = z.strictObject(
  {
    image: imageReference,
    platforms: platforms
      .exactOptional()
      .describe("The platforms to take. Left out: those of defaults. []: every platform, digests untouched."),
    as: z
      .string("expected repository[:tag]")
      .transform(parsedBy(parseTargetName))
      .exactOptional()
      .describe(
        "The image's name in the target: repository[:tag] without a host. The tag defaults to the source's.",
      ),
    tags: z
      .never(
        "is reserved for a later version, which will select tags by pattern: for now, list the tags one by one",
      )
      .exactOptional()
      .describe("Reserved for a later version. For now, list the tags one by one."),
  },
  'expected an image reference or a mapping with "image"',
);

const Defaults = z.strictObject(
  {
    platforms: platforms
      .exactOptional()
      .describe("The platforms to take of every image. Left out or []: every platform, digests untouched."),
  },
  'expected a mapping with "platforms"',
);

// A check and no conversion: two aliases of one host would silently overwrite each other in the record.
const registryHost = z.string().superRefine((text, context) => {
  parsedBy(parseRegistryHost)(text, context);
});

/** A whole list. Its output holds parsed references, platforms, target names, and sizes in bytes. */
export const List = z
  .strictObject(
    {
      version: z.literal(listVersion, `expected ${listVersion}`).describe("The version of the list format."),
      defaults: Defaults.nullish().describe("What holds for every image that does not say otherwise."),
      registries: z
        .record(
          registryHost,
          Registry.superRefine(checkLogin).nullable(),
          "expected a mapping from registry hosts to their settings",
        )
        .nullish()
        .describe("Settings of registries by host[:port], such as docker.io or registry.internal:5000."),
      images: z
        .array(
          z.union([imageReference, Image], 'expected an image reference or a mapping with "image"'),
          "expected a list of images",
        )
        .min(1, "the list has no images")
        .describe("The images to mirror."),
    },
    "expected a mapping with version and images",
  )
  .meta({
    title: "Image list of mirror",
    description: "The images that mirror takes across, and how to reach their registries.",
  });

const keysOf = {
  list: Object.keys(List.shape),
  defaults: Object.keys(Defaults.shape),
  registry: Object.keys(Registry.shape),
  // Whoever mistypes something must not be sent to a key that is refused.
  image: Object.keys(Image.shape).filter((key) => key !== "tags"),
};

/** What a mapping in a list is called, and which keys it takes. `path` is the path of zod's issue. */
export function knownKeys(path: readonly PropertyKey[]): {
  readonly what: string;
  readonly keys: readonly string[];
} {
  switch (path[0]) {
    case undefined:
      return { what: "a list", keys: keysOf.list };
    case "defaults":
      return { what: "defaults", keys: keysOf.defaults };
    case "registries":
      return { what: "a registry", keys: keysOf.registry };
    default:
      return { what: "an image", keys: keysOf.image };
  }
}

/** The JSON Schema of a list. Draft 7, since that is what the YAML plug-ins of editors read. */
export function jsonSchema(): object {
  return z.toJSONSchema(List, { io: "input", target: "draft-7" });
}
