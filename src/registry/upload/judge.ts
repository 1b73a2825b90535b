/** What a failure in the middle of an upload calls for: pure rules, one for each row of protocol notes 10 and 6.4. */
import { type AppError, isAppError } from "../../errors.ts";
import { RegistryError } from "../errors.ts";
import type { UploadManners } from "./manners.ts";

/** One request of an upload. */
export interface Part {
  /** First byte, from the start of the blob. */
  readonly offset: number;
  /** Bytes of its body. */
  readonly length: number;
  /** It is the PUT that ends the upload. */
  readonly closes: boolean;
  /** It is one of several: other sizes are possible. Bytes of a chunk; undefined for a blob that goes whole. */
  readonly chunkBytes: number | undefined;
}

/** What happened to it. */
export interface Mishap {
  readonly error: AppError;
  readonly part: Part;
  /** The connection broke at about the same place before. */
  readonly brokeHere: boolean;
}

/**
 * `replay`: the same request again, nothing of it was taken. `locate`: ask where the session stands, go on there.
 * `offset`: the answer may tell where it stands. `reshape`: begin anew in the shape that was just learned.
 * `lost`: the session is gone, begin anew. `damaged`: the content did not arrive as it left. `fail`: nothing helps.
 */
export type Remedy = "replay" | "locate" | "offset" | "reshape" | "lost" | "damaged" | "fail";

/** No proxy ends connections for the sake of bodies of this size (nginx has 1 MiB when it is installed). Bytes. */
const nobodysLimitBytes = 1_000_000;
const unchunkedStatuses: ReadonlySet<number> = new Set([405, 411, 415, 501]);

/** The remedy for a mishap. What it tells of the host is learned on the way. */
export function remedyFor({ error, part, brokeHere }: Mishap, manners: UploadManners): Remedy {
  if (!(error instanceof RegistryError)) {
    if (!isAppError(error, "NETWORK")) return "fail";
    // A proxy that ends the connection instead of answering 413: what comes next is smaller. All of a chunk may have
    // left for the buffers in between by then.
    if (brokeHere && part.length > nobodysLimitBytes) manners.tooLarge(part.length);
    return "locate";
  }
  const learned = (yes: boolean): Remedy => (yes ? "reshape" : "fail");
  if (error.status === 401) return "replay";
  if (isTooLarge(error)) return learned(manners.tooLarge(part.length));
  const small = part.chunkBytes !== undefined && isTooSmall(error);
  if (small && manners.tooSmall(part.chunkBytes)) return "reshape";
  if (error.status === 416) return "offset";
  if (error.has("BLOB_UPLOAD_UNKNOWN") || error.has("BLOB_UPLOAD_INVALID")) return "lost";
  if (error.has("DIGEST_INVALID") || error.has("SIZE_INVALID")) return "damaged";
  if (error.passing) return error.limited ? "replay" : "locate";
  const refused = unchunkedStatuses.has(error.status) || error.has("UNSUPPORTED");
  if (!part.closes && part.chunkBytes !== undefined) {
    // Google answers a chunk with 404 or 400 as well; so may a session that got lost, which is begun anew either way.
    const vague = part.offset === 0 && [400, 404].includes(error.status);
    if ((refused || vague) && manners.chunksRefused()) return "reshape";
  }
  if (error.status === 404) return "lost";
  // Only refusals that name what they are about: a plain 405 comes from registries that are read-only.
  const noContent = [411, 415, 501].includes(error.status) || error.has("UNSUPPORTED");
  if (part.closes && part.length > 0 && noContent) return learned(manners.contentInPutRefused());
  return "fail";
}

/** True if nobody knows what became of a request that ended so. */
export function isUnknown(error: AppError): boolean {
  if (!(error instanceof RegistryError)) return isAppError(error, "NETWORK");
  return error.status >= 500 || [408, 499].includes(error.status);
}

function isTooLarge(error: RegistryError): boolean {
  return error.status === 413 || (error.status === 416 && /too large/i.test(error.message));
}

/** ECR says LayerPartTooSmall, distribution 3 SIZE_INVALID. */
function isTooSmall(error: RegistryError): boolean {
  return (
    error.status < 500 && (error.has("SIZE_INVALID") || /part ?too ?small|too small/i.test(error.message))
  );
}
