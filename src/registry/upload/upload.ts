/**
 * One blob into one repository: session, then the content in one PUT or in chunks (distribution-spec "Pushing
 * blobs"). A small state machine over one verified pass of the content; whatever fails in the middle starts over
 * with a new session, since distribution 2.8 cannot go on after a cut and appends silently what is sent twice.
 * There are never two requests in flight in one session.
 */
import type { BlobSource, PushOptions } from "../../content/content.ts";
import { backoffMs, maxAttempts } from "../../content/retry.ts";
import { resuming, verified } from "../../content/verify.ts";
import { type AppError, isAppError } from "../../errors.ts";
import { shortDigest } from "../../oci/digest.ts";
import { RegistryError } from "../errors.ts";
import { type ContentBody, discard, drain } from "../http.ts";
import { hasBlob } from "./presence.ts";
import { sessionLocation, type UploadPlace } from "./upload-place.ts";

const octets = { "content-type": "application/octet-stream" };
/** A registry that checks a digest of many gigabytes, or moves them to its storage, answers late. Milliseconds. */
const commitTimeoutMs = 15 * 60_000;
const restartCodes = ["BLOB_UPLOAD_UNKNOWN", "BLOB_UPLOAD_INVALID", "DIGEST_INVALID", "SIZE_INVALID"];
const restartStatuses: ReadonlySet<number> = new Set([
  401, 404, 408, 416, 425, 429, 499, 500, 502, 503, 504, 520, 522, 524,
]);

/**
 * Uploads a blob. `location`: an open session that a refused mount left behind. Throws INTEGRITY if the content
 * is not what its descriptor says (nothing is stored then), and what the registry answered otherwise.
 */
export async function uploadBlob(
  place: UploadPlace,
  blob: BlobSource,
  options: PushOptions,
  location?: URL,
): Promise<void> {
  let session = location;
  for (let attempt = 1; ; ) {
    let reached = 0;
    let current: URL | undefined;
    const chunkBytes = place.client.manners.chunkFor(blob.descriptor.size);
    try {
      // A session that cannot be opened fails as it is: what could pass has been retried inside.
      current = session ?? (await openSession(place, blob, options.signal));
      session = undefined;
      await sendContent(place, blob, current, {
        ...options,
        chunkBytes,
        onProgress: (offset) => {
          reached = offset;
          options.onProgress?.(offset);
        },
        onMoved: (url) => {
          current = url;
        },
      });
      return;
    } catch (error) {
      if (current === undefined) throw error;
      const final = options.signal?.aborted === true || isAppError(error, "INTEGRITY", "INTERRUPTED");
      if (!final && (await arrivedAnyway(place, blob, error, reached, options.signal))) return;
      abandon(place, current);
      if (final) throw error;
      if (adapt(place, error, chunkBytes ?? blob.descriptor.size, chunkBytes !== undefined)) continue;
      if (!isPassing(error) || attempt >= maxAttempts) throw error;
      const delayMs = backoffMs(attempt, place.client.clock);
      place.client.retrying(
        `upload ${shortDigest(blob.descriptor.digest)}`,
        attempt,
        delayMs,
        error as AppError,
      );
      attempt += 1;
      await place.client.clock.sleep(delayMs, options.signal);
      options.onProgress?.(0);
    }
  }
}

async function openSession(place: UploadPlace, blob: BlobSource, signal?: AbortSignal): Promise<URL> {
  const answer = await place.client.request({
    method: "POST",
    path: `/v2/${place.repository}/blobs/uploads/`,
    what: `start an upload to ${place.client.registry}/${place.repository} (${shortDigest(blob.descriptor.digest)})`,
    scopes: place.scopes,
    body: "",
    signal,
    accept: [202],
  });
  await drain(answer);
  return sessionLocation(answer, place);
}

interface SendOptions extends PushOptions {
  /** Undefined: all in one request. Bytes. */
  readonly chunkBytes: number | undefined;
  readonly onMoved: (url: URL) => void;
}

async function sendContent(
  place: UploadPlace,
  blob: BlobSource,
  session: URL,
  options: SendOptions,
): Promise<void> {
  const { client } = place;
  const { size } = blob.descriptor;
  const what = `upload ${blob.descriptor.digest} to ${client.registry}/${place.repository}`;
  const { chunkBytes } = options;
  const onRetry = (attempt: number, delayMs: number, cause: AppError): void =>
    client.retrying(what, attempt, delayMs, cause);
  const content = verified(
    resuming(blob, { clock: client.clock, signal: options.signal, onRetry }),
    blob.descriptor,
  );
  const pieces = new Pieces(content, options.onProgress);
  const common = { what, scopes: place.scopes, signal: options.signal };
  try {
    let url = session;
    let offset = 0;
    // The last chunk travels in the closing PUT, so that its size never falls under a registry's minimum.
    while (chunkBytes !== undefined && size - offset > chunkBytes) {
      const answer = await client.request({
        ...common,
        method: "PATCH",
        path: url,
        headers: {
          ...octets,
          "content-length": `${chunkBytes}`,
          "content-range": `${offset}-${offset + chunkBytes - 1}`,
        },
        body: pieces.take(chunkBytes),
        headersTimeoutMs: commitTimeoutMs,
        accept: [200, 201, 202, 204],
      });
      await drain(answer);
      offset += chunkBytes;
      url = sessionLocation(answer, place);
      options.onMoved(url);
    }
    const rest = size - offset;
    // A blob of no bytes has a digest too.
    if (rest === 0) await content.next();
    const closing = await client.request({
      ...common,
      method: "PUT",
      path: withDigest(url, blob),
      headers: {
        ...octets,
        ...(offset === 0 ? {} : { "content-range": `${offset}-${size - 1}` }),
      },
      body: rest === 0 ? "" : pieces.take(rest),
      headersTimeoutMs: commitTimeoutMs,
      accept: [200, 201, 202, 204],
    });
    await drain(closing);
    options.onProgress?.(size);
  } finally {
    await content.return();
  }
}

/** Cuts one pass of the content into request bodies of exact lengths, without copying. */
class Pieces {
  readonly #content: AsyncGenerator<Uint8Array, void>;
  readonly #onProgress: ((offset: number) => void) | undefined;
  #rest: Uint8Array | undefined;
  #offset = 0;

  constructor(content: AsyncGenerator<Uint8Array, void>, onProgress: ((offset: number) => void) | undefined) {
    this.#content = content;
    this.#onProgress = onProgress;
  }

  take(length: number): ContentBody {
    return { content: this.#next(length), length };
  }

  async *#next(length: number): AsyncGenerator<Uint8Array, void> {
    let left = length;
    while (left > 0) {
      const chunk = this.#rest ?? (await this.#content.next()).value;
      this.#rest = undefined;
      if (chunk === undefined || chunk === null) return;
      const piece = chunk.byteLength <= left ? chunk : chunk.subarray(0, left);
      if (piece.byteLength < chunk.byteLength) this.#rest = chunk.subarray(left);
      left -= piece.byteLength;
      this.#offset += piece.byteLength;
      this.#onProgress?.(this.#offset);
      // Proof comes with the end of the content: it is read before its last byte goes out, so that a PUT whose
      // content is wrong never completes.
      yield piece;
    }
  }
}

function withDigest(session: URL, blob: BlobSource): URL {
  const url = new URL(session);
  // Appended by hand: URLSearchParams would encode the session's opaque state anew.
  url.search = `${url.search === "" ? "?" : `${url.search}&`}digest=${encodeURIComponent(blob.descriptor.digest)}`;
  return url;
}

/** The answer to an upload got lost, or says that the content is unwelcome: is the blob there all the same? */
async function arrivedAnyway(
  place: UploadPlace,
  blob: BlobSource,
  error: unknown,
  reached: number,
  signal?: AbortSignal,
): Promise<boolean> {
  const unknown = isAppError(error, "NETWORK") || (error instanceof RegistryError && error.status >= 500);
  if (!unknown || reached < blob.descriptor.size) return false;
  return await hasBlob(place, blob.descriptor.digest, signal).catch(() => false);
}

/** Learns from a refusal of a request of `bytes` what shape this host takes. True if there is another one to try. */
function adapt(place: UploadPlace, error: unknown, bytes: number, chunked: boolean): boolean {
  if (!(error instanceof RegistryError)) return false;
  const { manners } = place.client;
  const tooLarge = error.status === 413 || (error.status === 416 && /too large/i.test(error.message));
  if (tooLarge) return manners.tooLarge(bytes);
  const refused =
    error.status === 405 || error.status === 415 || error.status === 501 || error.has("UNSUPPORTED");
  return refused && chunked && manners.chunksRefused();
}

function isPassing(error: unknown): boolean {
  if (isAppError(error, "NETWORK")) return true;
  if (!(error instanceof RegistryError)) return isAppError(error, "AUTH");
  return restartStatuses.has(error.status) || restartCodes.some((code) => error.has(code));
}

/** Tells the registry that a session is over. Its answer is of no interest: the session would expire anyway. */
function abandon(place: UploadPlace, session: URL): void {
  place.client
    .request({
      method: "DELETE",
      path: session,
      what: "cancel an upload",
      scopes: place.scopes,
      accept: [200, 202, 204, 404],
      retry: false,
    })
    .then(discard, () => undefined);
}
