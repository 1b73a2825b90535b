/** What the uploads to one registry share: blobs that are on their way, and what became of attempts to mount. */
import type { Pushed } from "../../content/content.ts";
import type { Clock } from "../../content/retry.ts";
import type { Digest } from "../../oci/digest.ts";
import { isRepository } from "../../oci/reference.ts";
import { type NotesKeeper, type NotesPlace, notesIn, type UploadNotes } from "./notes.ts";
import type { UploadSession } from "./state.ts";

/** After so many refusals in a row no blob is asked for from that repository any more. */
const maxRefusals = 3;
/** Time to cancel uploads in when the client closes, in milliseconds: whoever pressed Ctrl-C waits for it. */
const cancelMs = 1000;

/** The desk of one registry's client. */
export class UploadDesk {
  /** What is kept for later runs; undefined if nothing is. */
  readonly notes: UploadNotes | undefined;
  readonly #told = new Map<Digest, string>();
  readonly #underWay = new Map<string, Promise<Pushed>>();
  /** Sessions that the registry opened instead of mounting: they wait for the upload that follows. */
  readonly #opened = new Map<string, UploadSession>();
  readonly #refusals = new Map<string, number>();
  /** Sessions that are being cancelled. */
  readonly #cancelled = new Set<Promise<unknown>>();

  constructor(client: NotesKeeper, place: NotesPlace) {
    this.notes = notesIn(place, client);
  }

  /** Takes in, for this run, that a repository of the registry has a blob: a hint, as the notes are. */
  tell(digest: Digest, repository: string): void {
    this.#told.set(digest, repository);
  }

  /** Repositories beside this one that are said to have a blob: in this run, or by the notes of earlier ones. */
  async elsewhere(digest: Digest, repository: string): Promise<readonly string[]> {
    const told = this.#told.get(digest);
    const noted = await this.notes?.stored.elsewhere(digest, repository);
    const places = new Set([told, noted]);
    return [...places].flatMap((place) =>
      place !== undefined && place !== repository && isRepository(place) ? place : [],
    );
  }

  /**
   * Runs an upload unless the same one (`key`) is under way: then that one is waited for, and the content is "present"
   * if it went well. Rejects with the signal's reason.
   */
  async once(key: string, signal: AbortSignal | undefined, run: () => Promise<Pushed>): Promise<Pushed> {
    for (;;) {
      const other = this.#underWay.get(key);
      if (other === undefined) break;
      const outcome = await Promise.race([other.catch(() => undefined), aborted(signal, other)]);
      signal?.throwIfAborted();
      if (outcome !== undefined) return "present";
    }
    const pushed = run();
    this.#underWay.set(key, pushed);
    try {
      return await pushed;
    } finally {
      this.#underWay.delete(key);
    }
  }

  /** Takes note of a session that is being cancelled, or looked after; `request` does not reject. */
  cancelling(request: Promise<unknown>): void {
    this.#cancelled.add(request);
    const forget = (): void => void this.#cancelled.delete(request);
    request.then(forget, forget);
  }

  /** Resolves when all sessions that were given up are cancelled, or after a second. */
  async settled(clock: Clock): Promise<void> {
    const over = new AbortController();
    const late = clock.sleep(cancelMs, over.signal).catch(() => undefined);
    await Promise.race([Promise.all(this.#cancelled), late]);
    over.abort();
  }

  /** Keeps the session that a mount of a blob into a repository has opened. */
  keep(key: string, session: UploadSession): void {
    this.#opened.set(key, session);
  }

  /** True if there is such a session. */
  waits(key: string): boolean {
    return this.#opened.has(key);
  }

  /** Takes that session, if there is one. */
  take(key: string): UploadSession | undefined {
    const session = this.#opened.get(key);
    this.#opened.delete(key);
    return session;
  }

  /** False once mounts from this repository have been refused several times in a row. */
  mountsFrom(repository: string): boolean {
    return (this.#refusals.get(repository) ?? 0) < maxRefusals;
  }

  /** A mount from this repository was answered, or refused. */
  mounted(repository: string, well: boolean): void {
    this.#refusals.set(repository, well ? 0 : (this.#refusals.get(repository) ?? 0) + 1);
  }
}

/** Resolves when the signal aborts; goes no further than the promise that it is raced with. */
function aborted(signal: AbortSignal | undefined, until: Promise<unknown>): Promise<undefined> {
  return new Promise((resolve) => {
    const abort = (): void => resolve(undefined);
    signal?.addEventListener("abort", abort, { once: true });
    if (signal?.aborted === true) abort();
    const forget = (): void => signal?.removeEventListener("abort", abort);
    until.then(forget, forget);
  });
}
