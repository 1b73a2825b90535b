/**
 * One blob into one repository: session, then the content in one PUT or in chunks (distribution-spec "Pushing
 * blobs"). A state machine over one verified pass of the content: after a failure it goes on inside the session where
 * the registry tells how far that got, and begins anew with another session where it does not. There are never two
 * requests in flight in one session, and none whose outcome is unknown is sent again without asking.
 */
import type { StageOptions } from "../../content/passing-content.ts";
import { reached } from "../../content/points.ts";
import { AppError, isAppError } from "../../errors.ts";
import { RegistryError } from "../errors.ts";
import { drain, singleHeader } from "../http.ts";
import type { UploadItem } from "./item.ts";
import { isUnknown, type Part, type Remedy, remedyFor } from "./judge.ts";
import { leaveSession } from "./leave.ts";
import { Patience } from "./patience.ts";
import { hasBlob } from "./presence.ts";
import { askSession, cancelSession, openSession, positionOf } from "./session.ts";
import type { UploadRecord } from "./session-notes.ts";
import type { UploadSession } from "./state.ts";
import type { Begun } from "./take-up.ts";
import { UploadContent } from "./upload-content.ts";
import { sessionLocation, type UploadPlace } from "./upload-place.ts";

const octets = { "content-type": "application/octet-stream" };
/** Under this size sending again costs no more than asking how far a session has got. Bytes. */
const worthAskingBytes = 1024 * 1024;
/** After these the session is worth nothing to anybody any more. */
const ended: ReadonlySet<Remedy | undefined> = new Set(["offset", "reshape", "lost", "damaged"]);

/**
 * Uploads content. `begun`: what is there of it already. Throws INTEGRITY if it is not what it should be (nothing is
 * stored then), and what the registry answered otherwise.
 */
export async function upload(
  place: UploadPlace,
  item: UploadItem,
  options: StageOptions,
  begun: Begun = {},
): Promise<void> {
  const upload = new Upload(place, item, { ...options, begun });
  try {
    await upload.run();
  } finally {
    await upload.close();
  }
}

class Upload {
  readonly #place: UploadPlace;
  readonly #item: UploadItem;
  readonly #options: StageOptions;
  readonly #content: UploadContent;
  readonly #patience: Patience;
  readonly #record: UploadRecord | undefined;
  #session: UploadSession | undefined;
  /** What the last failure called for. */
  #remedied: Remedy | undefined;
  readonly #what: string;

  constructor(place: UploadPlace, item: UploadItem, options: StageOptions & { readonly begun: Begun }) {
    const { client, repository } = place;
    const { session, record } = options.begun;
    this.#session = session;
    this.#record = record;
    this.#place = place;
    this.#item = item;
    this.#options = options;
    this.#what = `upload ${item.name} to ${client.registry}/${repository}`;
    this.#patience = new Patience(place, item, options.signal);
    this.#content = new UploadContent(item, {
      clock: client.clock,
      signal: options.signal,
      onProgress: options.onProgress,
      onRetry: (attempt, delayMs, cause) => client.retrying(this.#what, attempt, delayMs, cause),
    });
  }

  async run(): Promise<void> {
    const { signal } = this.#options;
    if (this.#session !== undefined && this.#session.offset > 0) await this.#goOn(this.#session);
    for (let done = false; !done; ) {
      // A session that cannot be opened fails as it is: what could pass has been retried inside.
      this.#session ??= await openSession(this.#place, this.#item, signal);
      const part = this.#nextPart(this.#session);
      try {
        done = await this.#send(this.#session, part);
        if (this.#session !== undefined) this.#patience.moved(this.#session.offset);
      } catch (error) {
        done = await this.#recover(error, this.#session, part);
      }
    }
    reached("upload:stored");
    await this.#record?.drop();
    this.#options.onProgress?.(this.#item.size);
  }

  async close(): Promise<void> {
    await this.#content.close();
  }

  /** Decided anew for each request, so that what other blobs have learned counts at once. */
  #nextPart({ offset }: UploadSession): Part {
    const { manners } = this.#place.client;
    const { size, replayBytes, isLate } = this.#item;
    const chunkBytes = manners.chunkFor(size, replayBytes);
    const rest = size - offset;
    // The last chunk travels in the closing PUT, so that its size never falls under a registry's minimum.
    if (chunkBytes !== undefined && rest > chunkBytes)
      return { offset, length: chunkBytes, closes: false, chunkBytes };
    // Content whose digest comes last has to be there as a whole before the request that names it can go out.
    const fits = !isLate || rest <= (replayBytes ?? 0);
    return { offset, length: rest, closes: rest === 0 || (fits && !manners.patchesWhole), chunkBytes };
  }

  /** Sends a request; true if the blob is stored then. */
  async #send(session: UploadSession, part: Part): Promise<boolean> {
    const { client } = this.#place;
    const { size } = this.#item;
    const { offset, length } = part;
    const url = new URL(session.location);
    // Whole in one PATCH is what Docker sends: without a range.
    const ranged = part.closes ? offset > 0 && length > 0 : length < size;
    if (length === 0) await this.#content.finish();
    const answer = await client.request({
      what: this.#what,
      scopes: this.#place.scopes,
      signal: this.#options.signal,
      extraMs: storingMs(part, size),
      fresh: client.manners.freshConnections,
      accept: [200, 201, 202, 204],
      method: part.closes ? "PUT" : "PATCH",
      path: part.closes ? withDigest(url, await this.#item.digest()) : url,
      // Sent again, it would find its session gone, where it had arrived: the blob is looked for first.
      retry: false,
      headers: { ...octets, ...(ranged ? { "content-range": `${offset}-${offset + length - 1}` } : {}) },
      body: length === 0 ? "" : await this.#content.take(offset, length),
    });
    await drain(answer);
    if (!part.closes) {
      // What Range says is not looked at: ECR's is stuck at the first chunk, others give the last one alone. The
      // closing PUT tells, by the digest.
      const named = ["location", "docker-upload-uuid"].some(
        (name) => singleHeader(answer, name) !== undefined,
      );
      const location = named ? sessionLocation(answer, this.#place).href : session.location;
      this.#session = { location, offset: offset + length };
      this.#item.onStored(offset + length);
      await this.#record?.note(this.#session);
      return false;
    }
    if (answer.status === 201 || (await this.#arrived())) return true;
    // Accepted, but not there: perhaps not yet.
    const state = `${client.registry} answered ${answer.status}, but does not have it`;
    await this.#patience.damaged(new AppError("REGISTRY", `Cannot ${this.#what}: ${state}`));
    if (await this.#arrived()) return true;
    await this.#restart(session);
    return false;
  }

  async #arrived(): Promise<boolean> {
    return await hasBlob(this.#place, await this.#item.digest(), this.#options.signal);
  }

  /** Gets over a failure, or throws it. True if the blob is stored all the same. */
  async #recover(thrown: unknown, session: UploadSession, part: Part): Promise<boolean> {
    const { signal } = this.#options;
    this.#remedied = undefined;
    // What the source answers is nothing that another session would change, unless its line broke.
    const gone = this.#content.failedWith(thrown) && !isAppError(thrown, "NETWORK");
    const final = signal?.aborted === true || gone || !isAppError(thrown) || isAppError(thrown, "INTEGRITY");
    const sent = Math.max(this.#content.offset - part.offset, 0);
    // The answer to an upload got lost: is the blob there all the same?
    if (!final && part.closes && sent >= part.length && isUnknown(thrown)) {
      if (await this.#arrived().catch(() => false)) return true;
    }
    try {
      if (final) throw thrown;
      await this.#remedy(thrown, session, part, sent);
      return false;
    } catch (error) {
      const keep = !isAppError(error, "INTEGRITY") && !ended.has(this.#remedied);
      const left = { session: this.#session ?? session, record: this.#record, sent: keep ? sent : undefined };
      leaveSession(this.#place, left, this.#item.size);
      throw error;
    }
  }

  async #remedy(error: AppError, session: UploadSession, part: Part, sent: number): Promise<void> {
    const { client } = this.#place;
    const { signal } = this.#options;
    const patience = this.#patience;
    const sourceFailed = this.#content.failedWith(error);
    const brokeHere = !sourceFailed && patience.brokeAt(error, sent);
    const before = client.manners.chunkFor(this.#item.size);
    const remedy = remedyFor({ error, part, brokeHere }, client.manners);
    if (before !== client.manners.chunkFor(this.#item.size)) patience.reshaped();
    this.#remedied = remedy;
    switch (remedy) {
      case "replay":
        // Elsewhere than at the registry there is no token of ours to renew.
        return await patience.refused(error);
      case "reshape": {
        this.#warnOfSlowness();
        // What an earlier run has got through is not given up for a limit that it had learned.
        const kept = part.offset > 0 ? await askSession(this.#place, session, signal) : undefined;
        if (kept?.offset === part.offset) return await this.#goOn(kept);
        return await this.#restart(session);
      }
      case "offset": {
        const far = part.offset + sent;
        if (!patience.misplaced()) {
          if (part.chunkBytes === undefined || !client.manners.chunksRefused()) throw error;
          return await this.#restart(session);
        }
        const told = error instanceof RegistryError ? error.upload : undefined;
        const known = told?.range === undefined ? undefined : positionOf(told, session, this.#place);
        const found = known ?? (await askSession(this.#place, session, signal));
        if (found === undefined || found.offset > far || !patience.lowers(found, part.offset))
          return await this.#restart(session);
        return await this.#goOn(found);
      }
      case "locate": {
        this.#warnOfSlowness();
        await patience.wait(error);
        const worth = part.offset + sent >= worthAskingBytes;
        const found = worth ? await askSession(this.#place, session, signal) : undefined;
        const usable =
          found !== undefined && found.offset >= part.offset && found.offset <= part.offset + sent;
        if (usable) return await this.#goOn(found);
        const through = sourceFailed ? undefined : patience.cutAt(error, sent);
        if (through !== undefined && client.manners.brittle(Math.min(through, part.length))) {
          patience.reshaped();
          this.#warnOfSlowness();
        }
        return await this.#restart(session);
      }
      case "lost":
        await patience.lost(error);
        return await this.#restart(session);
      case "damaged":
        await patience.damaged(error);
        return await this.#restart(session);
      case "fail":
        throw error;
    }
  }

  async #goOn(session: UploadSession): Promise<void> {
    this.#session = session;
    this.#patience.located(session.offset);
    this.#options.onProgress?.(session.offset);
    if (session.offset > 0) await this.#record?.note(session);
  }

  /** Gives the session up: the blob begins anew in another one. */
  async #restart(session: UploadSession): Promise<void> {
    await this.#record?.drop();
    cancelSession(this.#place, session);
    this.#session = undefined;
    this.#options.onProgress?.(0);
  }

  #warnOfSlowness(): void {
    const { client } = this.#place;
    if (!client.manners.slow || !client.manners.once("slow")) return;
    client.warn(
      `${client.registry} takes no large requests, so blobs go there in many small chunks, which costs speed`,
      client.manners.freshConnections
        ? "look at what is in between: the line to it breaks in the middle of larger ones"
        : "raise the limit of the proxy in front of it (nginx: client_max_body_size 0)",
    );
  }
}

/**
 * How long a registry may take to store what it has got, in milliseconds: it moves the last megabytes to its storage
 * (2 MB/s at least), and at the end checks a digest of many gigabytes and copies them to their place (20 MB/s).
 */
function storingMs({ length, closes }: Part, size: number): number {
  return Math.min(length / 2_000, 120_000) + (closes ? size / 20_000 : 0);
}

function withDigest(session: URL, digest: string): URL {
  const url = new URL(session);
  // Appended by hand: URLSearchParams would encode the session's opaque state anew.
  url.search = `${url.search === "" ? "?" : `${url.search}&`}digest=${encodeURIComponent(digest)}`;
  return url;
}
