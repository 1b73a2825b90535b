/**
 * An OCI registry in memory, for tests: it behaves like CNCF distribution 2.8 (or 3) down to the parts that hurt,
 * logs every request, and misbehaves by name (see faults.ts).
 */
import { randomUUID } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Digest } from "../../src/oci/digest.ts";
import { type AuthOptions, Gate } from "./auth.ts";
import { RegistryContent, type StoredManifest } from "./content.ts";
import { answerRegistry, answerStorage } from "./dispatch.ts";
import { errorReply, RegistryError } from "./errors.ts";
import { type ActiveFault, type Fault, type FaultContext, FaultList, type FaultUse } from "./fault.ts";
import { type FaultName, type FaultOptions, faults } from "./faults.ts";
import {
  ConnectionCut,
  type Listener,
  listen,
  type Origin,
  type RegistryRequest,
  type Reply,
  send,
  type TlsOptions,
  toRequest,
} from "./http.ts";
import { type LoggedRequest, RequestLog } from "./log.ts";
import { routeOf } from "./routes.ts";
import { type Dialect, Uploads } from "./uploads.ts";

export interface RegistryOptions {
  /** Who may do what; everybody everything if left out. */
  readonly auth?: AuthOptions;
  /** Speaks HTTPS (token server and storage too); HTTP if left out. */
  readonly tls?: TlsOptions;
  /** Which distribution it behaves like; 2.8 if left out. */
  readonly dialect?: Dialect;
  /** 127.0.0.1 if left out. */
  readonly address?: string;
  /** A free one if left out. */
  readonly port?: number;
}

/** Starts a registry; it listens when the promise is kept. */
export async function startRegistry(options: RegistryOptions = {}): Promise<TestRegistry> {
  const registry = new TestRegistry(options);
  await registry.listen();
  return registry;
}

export class TestRegistry implements AsyncDisposable {
  readonly #options: RegistryOptions;
  readonly #content = new RegistryContent();
  readonly #uploads = new Uploads();
  readonly #faults = new FaultList();
  readonly #log = new RequestLog();
  readonly #gate: Gate;
  readonly #listeners = new Map<Origin, Listener>();
  readonly #signature = randomUUID();

  /** Use {@link startRegistry}. */
  constructor(options: RegistryOptions) {
    this.#options = options;
    this.#gate = new Gate(options.auth, () => `${this.#listener("token").url}/token`);
  }

  /** `127.0.0.1:port` */
  get host(): string {
    return this.url.replace(/^https?:\/\//, "");
  }

  /** `http(s)://127.0.0.1:port` */
  get url(): string {
    return this.#listener("registry").url;
  }

  /** All requests in the order in which they began, those to the token server and the storage included. */
  get requests(): readonly LoggedRequest[] {
    return this.#log.entries;
  }

  /** Faults that are on. */
  get faults(): readonly ActiveFault[] {
    return this.#faults.active;
  }

  /** Number of uploads that were neither finished nor cancelled. */
  get openUploads(): number {
    return this.#uploads.size;
  }

  /** How many requests had this method and a path (alone or with its query) that the pattern finds. */
  count(method: string, pattern: RegExp): number {
    return this.#log.count(method, pattern);
  }

  resetLog(): void {
    this.#log.clear();
  }

  /** Turns a named fault on; without `times` it strikes every request that it concerns. */
  fault<Name extends FaultName>(name: Name, options?: FaultUse & FaultOptions<Name>): ActiveFault {
    // The table pairs every name with its own options, which TypeScript cannot follow through an index.
    const make = faults[name] as (options?: FaultUse & FaultOptions<Name>) => Fault;
    return this.#faults.add(name, make(options), options ?? {});
  }

  /** Turns on a fault that only one test has. */
  customFault(name: string, fault: Fault, use: FaultUse = {}): ActiveFault {
    return this.#faults.add(name, fault, use);
  }

  clearFaults(): void {
    this.#faults.clear();
  }

  /** Ends all tokens that have been given out, as if their time were over. */
  expireTokens(): void {
    this.#gate.expireTokens();
  }

  /** Ends all open uploads, as a restart would. */
  forgetUploads(): void {
    this.#uploads.forget();
  }

  /** Stores a blob without a request. */
  putBlob(repository: string, bytes: Uint8Array): Digest {
    return this.#content.putBlob(repository, bytes);
  }

  /** Stores a manifest without a request and without asking for what it leads to. */
  putManifest(repository: string, tag: string | undefined, bytes: Uint8Array, mediaType: string): Digest {
    return this.#content.putManifest(repository, tag, bytes, mediaType);
  }

  /** The manifest behind a tag or a digest. */
  manifest(repository: string, reference: string): StoredManifest | undefined {
    return this.#content.findManifest(repository, reference);
  }

  /** A copy of a blob's bytes, if the repository has it. */
  blob(repository: string, digest: string): Buffer | undefined {
    const blob = this.#content.findBlob(repository, digest);
    return blob === undefined ? undefined : Buffer.concat(blob.chunks);
  }

  /** Tags in the order in which they came. */
  tags(repository: string): readonly string[] {
    return this.#content.findTags(repository) ?? [];
  }

  /** Names of the repositories that were ever written to, sorted. */
  repositories(): readonly string[] {
    return this.#content.repositories();
  }

  /** Takes a blob away from a repository; false if it was not there. */
  deleteBlob(repository: string, digest: string): boolean {
    return this.#content.deleteBlob(repository, digest);
  }

  /** Takes a manifest and its tags away; false if it was not there. */
  deleteManifest(repository: string, digest: string): boolean {
    return this.#content.deleteManifest(repository, digest);
  }

  /** Begins to listen; {@link startRegistry} has done it. */
  async listen(): Promise<void> {
    const { address = "127.0.0.1", port = 0, tls, auth } = this.#options;
    const origins: readonly Origin[] = [
      "registry",
      "storage",
      ...(auth?.type === "bearer" ? ["token" as const] : []),
    ];
    for (const origin of origins) {
      const own = { address, port: origin === "registry" ? port : 0, tls };
      this.#listeners.set(
        origin,
        await listen(own, (incoming, response) => this.#serve(origin, incoming, response)),
      );
    }
  }

  /** Resolves once no client has a connection open, to any of its servers. */
  async deserted(): Promise<void> {
    await Promise.all([...this.#listeners.values()].map((listener) => listener.deserted()));
  }

  /** Ends the servers and every socket they have. */
  async close(): Promise<void> {
    const listeners = [...this.#listeners.values()];
    await Promise.all(listeners.map((listener) => listener.close()));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #serve(origin: Origin, incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    const secure = this.#options.tls !== undefined;
    const request = toRequest(incoming, origin, secure, (count) => {
      entry.bytesIn += count;
    });
    const { method, path } = request;
    const entry = this.#log.open({
      origin,
      method,
      path,
      url: incoming.url ?? "/",
      headers: incoming.headers,
    });
    try {
      const reply = this.#faults.transform(await this.#answer(request), request);
      entry.status = reply.status;
      await send(response, reply, (count) => {
        entry.bytesOut += count;
      });
      if (reply.held !== true) entry.endedAt = performance.now();
    } catch (error) {
      entry.endedAt = performance.now();
      throw error;
    }
  }

  async #answer(request: RegistryRequest): Promise<Reply> {
    const reply = await this.#firstAnswer(request).catch((error: unknown) => {
      if (error instanceof RegistryError) return errorReply([error.entry]);
      // The client has gone, or is to be sent away; anything else is a defect, which must show in the test.
      if (error instanceof ConnectionCut || request.aborted()) throw error;
      return errorReply([{ code: "UNKNOWN", detail: String(error) }]);
    });
    if (request.origin !== "registry") return reply;
    return { ...reply, headers: { "docker-distribution-api-version": "registry/2.0", ...reply.headers } };
  }

  async #firstAnswer(request: RegistryRequest): Promise<Reply> {
    const early = await this.#faults.intercept(request, this.#context, true);
    if (early !== undefined) return early;
    const refused =
      request.origin === "registry" ? this.#gate.check(request, routeOf(request.path)) : undefined;
    if (refused !== undefined) return refused;
    return (await this.#faults.intercept(request, this.#context, false)) ?? this.#handle(request);
  }

  #handle(request: RegistryRequest): Reply | Promise<Reply> {
    switch (request.origin) {
      case "token":
        return this.#gate.answerToken(request);
      case "storage":
        return answerStorage(request, this.#content, this.#signature);
      case "registry":
        return answerRegistry(request, {
          content: this.#content,
          uploads: this.#uploads,
          dialect: this.#options.dialect ?? "2.8",
        });
    }
  }

  get #context(): FaultContext {
    return {
      content: this.#content,
      uploads: this.#uploads,
      storageUrl: (repository, digest) =>
        `${this.#listener("storage").url}/storage/${repository}/blobs/${digest}?signature=${this.#signature}`,
    };
  }

  #listener(origin: Origin): Listener {
    const listener = this.#listeners.get(origin);
    if (listener === undefined) throw new Error(`the registry has no ${origin} server`);
    return listener;
  }
}
