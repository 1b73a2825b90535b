/** One registry: its scheme, challenges, retries and pace. Repositories, uploads and listings are built on `request`. */
import type { LimitFunction } from "p-limit";
import { backoffMs, type Clock, maxAttempts, systemClock } from "../content/retry.ts";
import { AppError, systemCode } from "../errors.ts";
import { Authenticator } from "./auth.ts";
import { Budget } from "./budget.ts";
import { answerError, isLimited, isPassing, RegistryError } from "./errors.ts";
import { connectHost } from "./host.ts";
import { type Answer, discard, failedAnswer, isContent, readText, sendFollowing } from "./http.ts";
import { AddressGuard } from "./net/guard.ts";
import { makeNetwork, type Network } from "./network.ts";
import { looksLikePlainHttp } from "./network-errors.ts";
import { Pace, untilEither } from "./pace.ts";
import { parseRateLimit } from "./rate-limit.ts";
import { refusal } from "./refusal.ts";
import { beginning, type ClientOptions, type Progress, type RegistryRequest } from "./request.ts";
import { findOrigin, judgePing } from "./scheme.ts";
import { UploadDesk } from "./upload/desk.ts";
import { UploadManners } from "./upload/manners.ts";

const defaultConcurrency = 8;
const defaultPatienceMs = 60_000;
/** These mean that the address is wrong rather than that the line is bad: trying again only delays the message. */
const hopelessCodes: ReadonlySet<string> = new Set(["ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED"]);
/** What storage answers to a signed URL whose time is over. */
const expiredStatuses: readonly number[] = [400, 401, 403];
/** A connection to one registry. Made once a run, closed at its end. */
export class RegistryClient {
  /** The name in references: `docker.io`, `10.0.0.1:32000`. */
  readonly registry: string;
  readonly pace: Pace;
  readonly manners: UploadManners;
  readonly uploads: UploadDesk;
  readonly guard: AddressGuard;
  readonly clock: Clock;
  readonly #options: ClientOptions;
  readonly #auth: Authenticator;
  readonly #closed = new AbortController();
  #network: Network;
  #origin: Promise<URL> | undefined;
  #secure = true;
  /** Certificates are not checked, though the user did not say so: no credential goes there. */
  #distrusted = false;
  /** A request has used up its tries without any answer: until there is one again, each gets a single try. */
  #gone = false;

  constructor(registry: string, options: ClientOptions = {}) {
    this.registry = registry;
    this.#options = options;
    this.clock = options.clock ?? systemClock;
    this.pace = new Pace(options.concurrency ?? defaultConcurrency, this.clock);
    this.manners = new UploadManners(registry, options.chunkBytes);
    this.uploads = new UploadDesk(this, options);
    this.guard = new AddressGuard(connectHost(registry));
    this.#network = makeNetwork(options, this.clock, this.guard);
    const { credential } = options;
    this.#auth = new Authenticator({
      transport: (exchange) => this.#network.small(exchange),
      registry,
      credential: typeof credential === "function" ? credential : async () => credential,
      keepsBack: () => {
        if (options.plainHttp === true) return undefined;
        return this.#secure ? (this.#distrusted ? "untrusted" : undefined) : "plain";
      },
      guard: this.guard,
      clock: this.clock,
      onNote: options.onNote,
    });
  }

  /** Bounds the transfers with this registry. */
  get limit(): LimitFunction {
    return this.pace.transfers;
  }

  /** Finds out the scheme and the challenge, once. Throws what keeps the registry from being used. */
  async connect(signal?: AbortSignal): Promise<URL> {
    this.#origin ??= this.#connect(signal).catch((error: unknown) => {
      this.#origin = undefined;
      throw error;
    });
    return await this.#origin;
  }

  /** True if the registry is reached over TLS; known once connected. */
  get secure(): boolean {
    return this.#secure;
  }

  /** Tells of a retry that a caller of this client makes (a broken transfer). */
  retrying(what: string, attempt: number, delayMs: number, cause: AppError): void {
    this.#options.onRetry?.(what, attempt, delayMs, cause);
  }

  /** Tells of something that goes on all the same. */
  warn(message: string, hint?: string): void {
    this.#options.onWarning?.(message, hint);
  }

  /**
   * Sends a request, authenticated, and gives the answer if its status is one of `accept`. A challenge is answered
   * once; broken connections and passing faults are retried unless the body is a stream. Throws RegistryError for
   * any other status, AUTH and DENIED, NETWORK or TLS when there is no answer.
   */
  async request(asked: RegistryRequest): Promise<Answer> {
    // What nobody else can end ends with the client, or its waiting would keep the program alive.
    const wanted = { ...asked, signal: asked.signal ?? this.#closed.signal };
    await this.connect(wanted.signal);
    const progress = beginning(this.#auth.scopesFor(wanted.scopes));
    const { patienceMs = defaultPatienceMs, waitsForRateLimit: waitsForLimit = false } = this.#options;
    const budget = new Budget(this.pace, this.clock, { patienceMs, waitsForLimit });
    for (;;) {
      const outcome = await this.#try(wanted, progress);
      if (outcome === "again") continue;
      if (!(outcome instanceof AppError)) return outcome;
      budget.count(outcome);
      const delayMs = budget.within(this.#delayMs(outcome, budget.attempt));
      const over = this.#closed.signal.aborted || wanted.signal?.aborted === true;
      if (isContent(wanted.body) || wanted.retry === false || over) throw outcome;
      const silent = outcome.code === "NETWORK";
      if (silent && this.#gone) throw outcome;
      if (budget.isSpent(outcome)) {
        this.#gone ||= silent;
        throw outcome;
      }
      await this.#wait({ ...wanted, away: budget.away }, budget.attempt, outcome, delayMs);
      // What ends after this is another token than the one that was renewed before.
      progress.challenged = false;
    }
  }

  /** Ends all connections. Uploads that were given up have a second to be cancelled, unless a pause is wanted. */
  async close(): Promise<void> {
    if (this.pace.leftMs === 0) await this.uploads.settled(this.clock);
    await this.uploads.notes?.stored.flush();
    this.#closed.abort(new AppError("INTERRUPTED", `the client of ${this.registry} is closed`));
    await this.#network.close();
  }

  /** One try: the answer, a failure that may pass, or "again" for what is to be asked anew at once. */
  async #try(wanted: RegistryRequest, progress: Progress): Promise<Answer | AppError | "again"> {
    const origin = await this.connect(wanted.signal);
    const url = typeof wanted.path === "string" ? new URL(wanted.path, origin) : wanted.path;
    // Only the registry's own origin gets the credential: an upload session may live on another host.
    const own = url.origin === origin.origin;
    const use = isContent(wanted.body) ? "sends" : wanted.blob === true ? "reads" : undefined;
    const transport = use === undefined ? this.#network.small : this.#network.large;
    const turn = await this.pace.enter(
      this.pace.leftMs > 0 ? untilEither(wanted.signal, this.#closed.signal) : wanted.signal,
      use,
    );
    try {
      const authorization = own ? await this.#auth.header(progress.scopes, wanted.signal) : undefined;
      progress.sentMs = this.clock.now();
      const exchange = { ...wanted, url, authorization };
      const follow = wanted.method === "GET" || wanted.method === "HEAD";
      const answer = await (follow ? sendFollowing(transport, exchange, this.guard) : transport(exchange));
      this.#gone = false;
      const rate = parseRateLimit(answer.headers);
      if (rate !== undefined) this.#options.onRateLimit?.(rate);
      const elsewhere = answer.url.origin !== origin.origin;
      if (
        wanted.accept.includes(answer.status) ||
        (elsewhere && wanted.acceptElsewhere?.includes(answer.status))
      ) {
        turn.done();
        if (progress.widened === true) this.#auth.learnScopes(wanted.scopes, progress.scopes);
        return answer;
      }
      const failure = await this.#failure(wanted, answer, authorization);
      // A challenge from where a redirect led is not the registry's, and gets nothing of ours.
      if (answer.status === 401 && !elsewhere)
        return await this.#challenged(wanted, progress, answer, failure, authorization);
      // The time of a signed URL is over: the registry gives a fresh one.
      const stale =
        expiredStatuses.includes(answer.status) && answer.headers["www-authenticate"] === undefined;
      if (elsewhere && wanted.blob === true && stale && progress.expired < 2) {
        progress.expired += 1;
        return "again";
      }
      // A registry that is unavailable is asked by fewer at a time too; nginx says so of its limits.
      if (isLimited(failure) || failure.status === 503) turn.limited();
      if (failure.passing) return failure;
      throw failure;
    } catch (error) {
      if (error instanceof RegistryError && isLimited(error)) turn.limited();
      if (isPassing(error)) return error;
      throw error;
    } finally {
      turn.failed();
    }
  }

  /** A 401 is answered once: with a wider scope, a fresh token, or the credential that was not asked for before. */
  async #challenged(
    wanted: RegistryRequest,
    progress: Progress,
    answer: Answer,
    failure: RegistryError,
    authorization: string | undefined,
  ): Promise<"again"> {
    if (!this.#auth.learn(answer)) throw failure;
    if (progress.challenged) {
      const { what, signal } = wanted;
      const { scopes } = progress;
      const anonymous = (await this.#auth.credential(scopes, signal)) === undefined;
      const refused = { what, registry: this.registry, scopes, authorization, anonymous };
      throw refusal(refused, this.#auth, failure);
    }
    progress.challenged = true;
    const widened = this.#auth.widened(progress.scopes);
    if (widened === undefined) await this.#auth.reject(authorization, progress.sentMs);
    progress.scopes = widened ?? progress.scopes;
    progress.widened = widened !== undefined;
    // A stream is gone by now; whoever made it makes another one.
    if (isContent(wanted.body)) throw failure;
    if ((await this.#auth.header(progress.scopes, wanted.signal)) === undefined) throw failure;
    return "again";
  }

  async #connect(signal?: AbortSignal): Promise<URL> {
    return await findOrigin(this.registry, this.#options, {
      speaks: async (origin) => await this.#network.speaks(origin, signal),
      ping: async (origin) => {
        this.#secure = origin.protocol === "https:";
        await this.#ping(origin, signal);
      },
      distrust: () => {
        this.#distrusted = true;
        const before = this.#network;
        this.#network = makeNetwork({ ...this.#options, insecure: true }, this.clock, this.guard);
        before.close().catch(() => undefined);
      },
      warn: (message) => this.warn(message),
    });
  }

  async #ping(origin: URL, signal?: AbortSignal): Promise<void> {
    const what = `connect to ${this.registry}`;
    const url = new URL("/v2/", origin);
    for (let attempt = 1; ; attempt += 1) {
      try {
        const exchange = { method: "GET", url, what, signal } as const;
        const answer = await sendFollowing(this.#network.small, exchange, this.guard);
        if (answer.status === 401 && answer.url.origin === origin.origin) this.#auth.learn(answer);
        await judgePing(answer, this.registry, what);
        this.#gone = false;
        return;
      } catch (error) {
        const cause = error instanceof AppError ? error.cause : error;
        const hopeless = hopelessCodes.has(systemCode(cause) ?? "") || looksLikePlainHttp(cause);
        if (!isPassing(error) || hopeless || signal?.aborted === true) throw error;
        this.#gone ||= attempt >= maxAttempts;
        if (this.#gone) throw error;
        await this.#wait({ what, signal }, attempt, error, this.#delayMs(error, attempt));
      }
    }
  }

  async #failure(
    wanted: RegistryRequest,
    answer: Answer,
    authorization: string | undefined,
  ): Promise<RegistryError> {
    // distribution 2.8 promises a body with its 416 to a range, and sends none.
    const empty = wanted.method === "HEAD" || (wanted.method === "GET" && answer.status === 416);
    const body = empty ? "" : await readText(answer).catch(() => "");
    if (body === "") discard(answer);
    const said = this.#auth.withoutSecrets(body, authorization);
    const asked = answer.status === 401 && answer.url.origin === (await this.connect()).origin;
    const from = asked ? (await this.#auth.credential(wanted.scopes, wanted.signal))?.origin : undefined;
    return answerError(wanted.what, failedAnswer(wanted.method, answer, said), from);
  }

  /**
   * How long to wait before the next try. A registry that says when to come back, or that we ask too much, means all
   * of us, not just the one request.
   */
  #delayMs(failure: AppError, attempt: number): number {
    const backoff = backoffMs(attempt, this.clock);
    const { limited = false, retryAfterMs } = failure instanceof RegistryError ? failure : {};
    if (retryAfterMs !== undefined) this.pace.pause(retryAfterMs, this.#options.waitsForRateLimit);
    else if (limited && this.pace.leftMs === 0) {
      this.pace.pause(backoff);
      return backoff;
    }
    return this.pace.leftMs + backoff;
  }

  async #wait(
    { what, signal, away = false }: Pick<RegistryRequest, "what" | "signal"> & { readonly away?: boolean },
    attempt: number,
    cause: AppError,
    delayMs: number,
  ): Promise<void> {
    this.#options.onRetry?.(what, attempt, delayMs, cause);
    await this.pace.rest(delayMs, untilEither(signal, this.#closed.signal), away);
  }
}
