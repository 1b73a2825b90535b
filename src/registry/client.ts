/**
 * One registry: decides its scheme once, answers its challenges, retries what is safe to retry, and pauses as a
 * whole when it is told to. Repositories and uploads (repository.ts, upload.ts) are built on its `request`.
 */
import pLimit, { type LimitFunction } from "p-limit";
import type { Dispatcher } from "undici";
import { backoffMs, type Clock, maxAttempts, systemClock } from "../content/retry.ts";
import { AppError, isAppError, systemCode } from "../errors.ts";
import { makeAgent, speaksPlainHttp, type TrustOptions, wireTrust } from "./agent.ts";
import { Authenticator } from "./auth.ts";
import type { Credential } from "./credentials.ts";
import { answerError, looksLikePlainHttp, RegistryError } from "./errors.ts";
import { connectHost, isLoopbackHost, isPrivateAddress } from "./host.ts";
import {
  type Answer,
  blobTransport,
  type ContentBody,
  discard,
  drain,
  type Exchange,
  failedAnswer,
  isContent,
  readText,
  requestTransport,
  sendFollowing,
  singleHeader,
  type Transport,
} from "./http.ts";
import { UploadManners } from "./manners.ts";
import { Wires } from "./wires.ts";

export interface ClientOptions extends TrustOptions {
  /** The user said that this registry may be spoken to in plain HTTP, credentials included. */
  readonly plainHttp?: boolean | undefined;
  /** Docker's daemon.json lists it as insecure: plain HTTP is tried, but carries no credentials. */
  readonly listedInsecure?: boolean | undefined;
  readonly credential?: Credential | undefined;
  /** Transfers at a time; 8 if left out. */
  readonly concurrency?: number | undefined;
  /** Size of the chunks that large blobs are sent in, in bytes. */
  readonly chunkBytes?: number | undefined;
  readonly clock?: Clock | undefined;
  readonly onWarning?: ((message: string, hint?: string) => void) | undefined;
  readonly onRetry?: ((what: string, attempt: number, delayMs: number, cause: AppError) => void) | undefined;
}

/** A request to the registry, by path. */
export interface RegistryRequest {
  readonly method: Exchange["method"];
  /** Begins with `/v2/`, or the URL of an upload session. */
  readonly path: string | URL;
  readonly what: string;
  readonly scopes: readonly string[];
  readonly headers?: Readonly<Record<string, string>>;
  /** Bytes can be sent again after a 401 or a broken connection; a stream cannot. */
  readonly body?: string | Uint8Array | ContentBody | undefined;
  /** The answer's body is a blob: it comes over a connection made for large bodies. */
  readonly blob?: boolean;
  readonly signal?: AbortSignal | undefined;
  readonly headersTimeoutMs?: number;
  /** Statuses that are answers, not failures. */
  readonly accept: readonly number[];
  /** False: one try only. */
  readonly retry?: boolean;
}

const defaultConcurrency = 8;
/** These mean that the address is wrong rather than that the line is bad: trying again only delays the message. */
const hopelessCodes: ReadonlySet<string> = new Set(["ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED"]);

/** A connection to one registry. Made once a run, closed at its end. */
export class RegistryClient {
  /** The name in references: `docker.io`, `10.0.0.1:32000`. */
  readonly registry: string;
  /** Bounds the transfers with this registry. */
  readonly limit: LimitFunction;
  readonly manners: UploadManners;
  readonly clock: Clock;
  readonly #options: ClientOptions;
  readonly #dispatcher: Dispatcher;
  readonly #wires: Wires;
  readonly #small: Transport;
  readonly #large: Transport;
  readonly #auth: Authenticator;
  #origin: Promise<URL> | undefined;
  #secure = true;
  #pausedUntilMs = 0;
  /** A request has used up its tries without any answer: until there is one again, each gets a single try. */
  #gone = false;

  constructor(registry: string, options: ClientOptions = {}) {
    this.registry = registry;
    this.#options = options;
    this.clock = options.clock ?? systemClock;
    this.limit = pLimit(options.concurrency ?? defaultConcurrency);
    this.manners = new UploadManners(registry, options.chunkBytes);
    this.#dispatcher = makeAgent(options);
    this.#wires = new Wires(wireTrust(options));
    this.#small = requestTransport(this.#dispatcher);
    this.#large = blobTransport(this.#wires);
    this.#auth = new Authenticator({
      transport: this.#small,
      registry,
      credential: options.credential,
      mayUseCredential: () => this.#secure || options.plainHttp === true,
      clock: this.clock,
    });
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

  /**
   * Sends a request, authenticated, and gives the answer if its status is one of `accept`. A challenge is answered
   * once; broken connections and passing faults are retried unless the body is a stream. Throws RegistryError for
   * any other status, NETWORK or TLS when there is no answer.
   */
  async request(wanted: RegistryRequest): Promise<Answer> {
    const origin = await this.connect(wanted.signal);
    const url = typeof wanted.path === "string" ? new URL(wanted.path, origin) : wanted.path;
    // Only the registry's own origin gets the credential: an upload session may live on another host.
    const own = url.origin === origin.origin;
    const replayable = !isContent(wanted.body);
    const transport = wanted.blob === true || isContent(wanted.body) ? this.#large : this.#small;
    let challenged = false;
    let scopes = wanted.scopes;
    for (let attempt = 1; ; attempt += 1) {
      await this.#pause(wanted.signal);
      let failure: AppError;
      try {
        const authorization = own ? await this.#auth.header(scopes, wanted.signal) : undefined;
        const exchange = { ...wanted, url, authorization };
        const follow = wanted.method === "GET" || wanted.method === "HEAD";
        const answer = await (follow ? sendFollowing(transport, exchange) : transport(exchange));
        this.#gone = false;
        if (wanted.accept.includes(answer.status)) return answer;
        // A challenge from where a redirect led is not the registry's, and gets nothing of ours.
        const asked = answer.status === 401 && answer.url.origin === origin.origin;
        if (asked && !challenged && this.#auth.learn(answer)) {
          const widened = this.#auth.widened(scopes);
          await drain(answer);
          if (widened === undefined) await this.#auth.reject(authorization);
          scopes = widened ?? scopes;
          challenged = true;
          if (replayable) {
            attempt -= 1;
            continue;
          }
        }
        throw await this.#failure(wanted, answer, authorization);
      } catch (error) {
        if (!isPassing(error)) throw error;
        failure = error;
      }
      this.#heed(failure);
      if (!replayable || wanted.retry === false || wanted.signal?.aborted === true) throw failure;
      const silent = failure.code === "NETWORK";
      if (attempt >= maxAttempts && silent) this.#gone = true;
      if (attempt >= maxAttempts || (silent && this.#gone)) throw failure;
      await this.#wait(wanted, attempt, failure);
    }
  }

  /** Ends all connections. */
  async close(): Promise<void> {
    this.#wires.close();
    await this.#dispatcher.destroy();
  }

  async #connect(signal?: AbortSignal): Promise<URL> {
    const host = connectHost(this.registry);
    if (this.#options.plainHttp === true) {
      this.#secure = false;
      return await this.#ping(new URL(`http://${host}`), signal);
    }
    this.#secure = true;
    const secure = new URL(`https://${host}`);
    const trusted = isLoopbackHost(host) || isPrivateAddress(host) || this.#options.listedInsecure === true;
    if (!trusted || !(await speaksPlainHttp(secure, signal))) return await this.#ping(secure, signal);
    this.#secure = false;
    const origin = await this.#ping(new URL(`http://${host}`), signal);
    this.#options.onWarning?.(`${this.registry} speaks plain HTTP: nothing that goes there is encrypted`);
    return origin;
  }

  /** `GET /v2/` (distribution-spec "Determining Support"): is it a registry, and whom does it let in? */
  async #ping(origin: URL, signal?: AbortSignal): Promise<URL> {
    const what = `connect to ${this.registry}`;
    const url = new URL("/v2/", origin);
    for (let attempt = 1; ; attempt += 1) {
      try {
        const answer = await sendFollowing(this.#small, { method: "GET", url, what, signal });
        return await this.#judgePing(answer, origin, what);
      } catch (error) {
        const cause = error instanceof AppError ? error.cause : error;
        const hopeless = hopelessCodes.has(systemCode(cause) ?? "") || looksLikePlainHttp(cause);
        if (!isPassing(error) || hopeless || attempt >= maxAttempts || signal?.aborted === true) throw error;
        this.#heed(error);
        await this.#wait({ what, signal }, attempt, error);
      }
    }
  }

  async #judgePing(answer: Answer, origin: URL, what: string): Promise<URL> {
    if (answer.status === 401) {
      if (answer.url.origin === origin.origin) this.#auth.learn(answer);
      await drain(answer);
      return origin;
    }
    // A page for people is what web servers and login portals answer to anything.
    const page = /^text\/html/i.test(singleHeader(answer, "content-type") ?? "");
    if ((answer.status === 200 && !page) || answer.status === 403) {
      await drain(answer);
      return origin;
    }
    const body = await readText(answer);
    if (/HTTP request (?:was sent )?to (?:an )?HTTPS/i.test(body)) {
      throw new AppError("TLS", `Cannot ${what}: it speaks TLS, not plain HTTP`, {
        hint: `leave out --plain-http ${this.registry}`,
      });
    }
    const error = answerError(what, failedAnswer("GET", answer, body));
    if (error.passing) throw error;
    throw new AppError(
      "REGISTRY",
      `Cannot ${what}: GET /v2/ answered ${answer.status}${page ? " with a web page" : ""}, so it does not look like a registry`,
      {
        hint: "check host and port",
        details: { host: this.registry, status: answer.status },
      },
    );
  }

  async #failure(wanted: RegistryRequest, answer: Answer, authorization?: string): Promise<AppError> {
    // distribution 2.8 promises a body with its 416 to a range, and sends none.
    const empty = wanted.method === "HEAD" || (wanted.method === "GET" && answer.status === 416);
    const body = empty ? "" : await readText(answer).catch(() => "");
    if (body === "") discard(answer);
    const said = this.#auth.withoutSecrets(body, authorization);
    const error = answerError(wanted.what, failedAnswer(wanted.method, answer, said));
    const origin = this.#auth.origin;
    if (error.code !== "AUTH" || origin === undefined) return error;
    return new AppError("AUTH", `${error.message} (credentials from ${origin})`, {
      hint: error.hint,
      cause: error,
      details: error.details,
    });
  }

  /** A registry that says when to come back means all of us, not just the one request. */
  #heed(failure: AppError): void {
    const ms = failure instanceof RegistryError ? (failure.retryAfterMs ?? 0) : 0;
    this.#pausedUntilMs = Math.max(this.#pausedUntilMs, this.clock.now() + ms);
  }

  async #wait(
    wanted: Pick<RegistryRequest, "what" | "signal">,
    attempt: number,
    cause: AppError,
  ): Promise<void> {
    const pauseMs = Math.max(this.#pausedUntilMs - this.clock.now(), 0);
    const delayMs = pauseMs + backoffMs(attempt, this.clock);
    this.#options.onRetry?.(wanted.what, attempt, delayMs, cause);
    await this.clock.sleep(delayMs, wanted.signal);
  }

  async #pause(signal?: AbortSignal): Promise<void> {
    // Others may have been told to stay away longer in the meantime.
    for (let leftMs = 1; leftMs > 0; ) {
      leftMs = this.#pausedUntilMs - this.clock.now();
      if (leftMs > 0) await this.clock.sleep(leftMs, signal);
    }
  }
}

/** True for failures that may be gone with the next try. */
function isPassing(error: unknown): error is AppError {
  return isAppError(error, "NETWORK") || (error instanceof RegistryError && error.passing);
}
