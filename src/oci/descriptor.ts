/** Descriptors: what a thing is, by media type, digest and size (image-spec descriptor.md). */
import { z } from "zod";
import { Digest } from "./digest.ts";
import { Platform } from "./platform.ts";

/**
 * A content descriptor. `size` is in bytes. Sizes that JavaScript cannot count exactly are refused here, so that
 * offsets computed from them are exact everywhere else.
 */
export const Descriptor = z.object({
  mediaType: z.string().max(255),
  digest: Digest,
  size: z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER),
  platform: Platform.optional(),
  artifactType: z.string().optional(),
  urls: z.array(z.string()).optional(),
  annotations: z.record(z.string(), z.string()).nullish(),
});
export type Descriptor = Readonly<z.infer<typeof Descriptor>>;

/** The three fields that identify content, without platform and annotations. */
export function bareDescriptor(descriptor: Descriptor): Descriptor {
  return { mediaType: descriptor.mediaType, digest: descriptor.digest, size: descriptor.size };
}
