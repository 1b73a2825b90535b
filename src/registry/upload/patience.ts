/** How much one upload puts up with: its budgets, and the errors that it ends with when they are used up. */
import { backoffMs, maxAttempts } from "../../content/retry.ts";
import { type AppError, hinted, isAppError, systemCode } from "../../errors.ts";
import { RegistryError } from "../errors.ts";
import type { UploadItem } from "./item.ts";
import type { UploadSession } from "./state.ts";
import type { UploadPlace } from "./upload-place.ts";

/** Restarts after a session that got lost, and corrections of the offset (protocol notes 6.4). */
const maxLost = 3;
const maxMisplaced = 3;
/** Tries that the success of other requests renews. */
const maxTries = 60;
/** Breaks this near to each other are at the same place: what is under way in buffers differs. Bytes. */
const nearBytes = 4 * 1024 * 1024;
/** Sessions that a line may cost before it counts as one that breaks again and again. */
const toleratedCuts = 3;
/** Smaller requests are of no use: who breaks these lets nothing through. Bytes. */
const smallestCut = 1_000_001;
/** How it looks when the other side ends a connection. */
const brokenCodes: ReadonlySet<string> = new Set(["ECONNRESET", "EPIPE", "UND_ERR_SOCKET"]);

/** The patience with one upload. */
export class Patience {
  readonly #place: UploadPlace;
  readonly #item: UploadItem;
  readonly #signal: AbortSignal | undefined;
  #attempts = 0;
  #tries = 0;
  #answered: number;
  #renewed = false;
  #lost = 0;
  #damaged = 0;
  #misplaced = 0;
  /** The furthest offset that was ever acknowledged: only what goes beyond it is progress. */
  #furthest = 0;
  #lowered: number | undefined;
  #brokeAt: number | undefined;
  /** Sessions that a broken line has cost, and the fewest bytes that one of them took. */
  #cut = 0;
  #shortest = Number.POSITIVE_INFINITY;

  constructor(place: UploadPlace, item: UploadItem, signal: AbortSignal | undefined) {
    this.#place = place;
    this.#item = item;
    this.#signal = signal;
    this.#answered = place.client.pace.answered;
  }

  /** A request was taken, up to this offset (bytes). */
  moved(offset: number): void {
    this.#renewed = false;
    this.#brokeAt = undefined;
    this.located(offset);
  }

  /** The registry has told that it has got so far (bytes), though the request failed. */
  located(offset: number): void {
    if (offset <= this.#furthest) return;
    this.#furthest = offset;
    this.#attempts = 0;
  }

  /** Another shape is tried from now on: its budget is its own. */
  reshaped(): void {
    this.#attempts = 0;
    this.#brokeAt = undefined;
  }

  /** A request was refused before anything of it was taken. Returns when it may be sent again, or throws. */
  async refused(error: AppError): Promise<void> {
    if (error instanceof RegistryError && error.limited) {
      const { answered } = this.#place.client.pace;
      // A registry that limits us but lets others of us through is only busy.
      if (answered > this.#answered && this.#tries < maxTries) this.#attempts = 0;
      this.#answered = answered;
      return await this.wait(error);
    }
    if (this.#renewed) throw error;
    this.#renewed = true;
  }

  /** Waits before another try. Throws the error when there were enough. */
  async wait(error: AppError): Promise<void> {
    const { client } = this.#place;
    this.#attempts += 1;
    this.#tries += 1;
    if (this.#attempts >= maxAttempts) throw this.#explained(error);
    const delayMs = backoffMs(this.#attempts, client.clock);
    client.retrying(`upload ${this.#item.shortName}`, this.#attempts, delayMs, error);
    await client.clock.sleep(delayMs, this.#signal);
  }

  /** The session got lost. */
  async lost(error: AppError): Promise<void> {
    this.#lost += 1;
    if (this.#lost > maxLost) {
      throw hinted(
        error,
        "if the registry runs in several replicas, give them the same http.secret; if it restarts, look at its log",
      );
    }
    await this.wait(error);
  }

  /** The content arrived as something else, or not at all: once is an accident. */
  async damaged(error: AppError): Promise<void> {
    this.#damaged += 1;
    if (this.#damaged > 1) {
      throw hinted(
        error,
        `${this.#item.name} is what was read and sent, twice: check the proxy and the storage of ${this.#place.client.registry}`,
      );
    }
    await this.wait(error);
  }

  /** The registry stands elsewhere than we thought. False when that has been so too often. */
  misplaced(): boolean {
    this.#misplaced += 1;
    return this.#misplaced <= maxMisplaced;
  }

  /** False for a place before what was acknowledged that has been told before: it does not move, and means nothing. */
  lowers(found: UploadSession, acknowledged: number): boolean {
    if (found.offset >= acknowledged) return true;
    const moves = this.#lowered !== found.offset;
    this.#lowered = found.offset;
    return moves;
  }

  /** True if the connection broke after `sent` bytes of a body, and did so at about the same place before. */
  brokeAt(error: AppError, sent: number): boolean {
    if (error instanceof RegistryError || !isAppError(error, "NETWORK")) return false;
    // Silence, and answers that come too soon, say nothing of a size.
    if (sent === 0 || !brokenCodes.has(systemCode(error.cause) ?? "")) return false;
    const before = this.#brokeAt;
    this.#brokeAt = sent;
    return before !== undefined && Math.abs(before - sent) <= Math.max(nearBytes, sent / 4);
  }

  /**
   * A broken connection has cost the session after `sent` bytes of a body. If that happens again and again, the size of
   * a request that may get through all the same, in bytes; undefined before.
   */
  cutAt(error: AppError, sent: number): number | undefined {
    if (sent === 0 || !brokenCodes.has(systemCode(error.cause) ?? "")) return undefined;
    this.#cut += 1;
    this.#shortest = Math.min(this.#shortest, sent);
    if (this.#cut < toleratedCuts) return undefined;
    // Most of what was sent may have been on its way still.
    return Math.max(this.#shortest / 4, smallestCut);
  }

  #explained(error: AppError): AppError {
    // Nothing was ever taken, and the connection ends in the middle.
    if (!isAppError(error, "NETWORK") || this.#brokeAt === undefined || this.#furthest > 0) return error;
    return hinted(
      error,
      `check that the repository ${this.#place.repository} exists (ECR breaks the connection otherwise), and that no proxy limits the size of requests`,
    );
  }
}
