/** Digests: `algorithm:hex`, checked once at the edge and branded, so that an unchecked string is not one. */
import { createHash, type Hash } from "node:crypto";
import { z } from "zod";

/** A digest this program can verify: image-spec descriptor.md "Digests", algorithms sha256 and sha512. */
export const Digest = z
  .string()
  .regex(/^(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$/, { error: ({ input }) => whyNoDigest(input) })
  .brand<"Digest">();
export type Digest = z.infer<typeof Digest>;

/** The grammar lets any algorithm be; what we cannot compute, we cannot vouch for. */
function whyNoDigest(input: unknown): string {
  const expected = "expected sha256:<64 lower-case hex> or sha512:<128 lower-case hex>";
  const [, algorithm = ""] = /^([a-z0-9]+(?:[+._-][a-z0-9]+)*):[A-Za-z0-9=_-]+$/.exec(String(input)) ?? [];
  if (algorithm === "" || algorithm === "sha256" || algorithm === "sha512") return expected;
  return `${expected}; content named by ${algorithm.slice(0, 32)} cannot be verified`;
}

export type DigestAlgorithm = "sha256" | "sha512";

/** True if the text is a digest that this program can verify. */
export function isDigest(text: string): text is Digest {
  return Digest.safeParse(text).success;
}

/** The digest of bytes held in memory. */
export function digestOf(bytes: Uint8Array, algorithm: DigestAlgorithm = "sha256"): Digest {
  return `${algorithm}:${createHash(algorithm).update(bytes).digest("hex")}` as Digest;
}

/** The algorithm of a digest. */
export function algorithmOf(digest: Digest): DigestAlgorithm {
  return digest.startsWith("sha512:") ? "sha512" : "sha256";
}

/** The hexadecimal part of a digest. */
export function hexOf(digest: Digest): string {
  return digest.slice(digest.indexOf(":") + 1);
}

/** Enough of a digest for a person to tell it from others: `sha256:0123456789ab`. */
export function shortDigest(digest: Digest): string {
  return `${algorithmOf(digest)}:${hexOf(digest).slice(0, 12)}`;
}

/** A running hash of the digest's algorithm; compare its result with {@link finishDigest}. */
export function hasherFor(digest: Digest): Hash {
  return createHash(algorithmOf(digest));
}

/** Ends a hash made by {@link hasherFor} and gives the digest it came to. */
export function finishDigest(hash: Hash, algorithm: DigestAlgorithm): Digest {
  return `${algorithm}:${hash.digest("hex")}` as Digest;
}
