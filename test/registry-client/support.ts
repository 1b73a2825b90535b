/** What the tests of the registry client share: a clock that never waits, clients that tell what they did, blobs. */
import type { BlobSource, ByteStream } from "../../src/content/content.ts";
import type { Clock } from "../../src/content/retry.ts";
import { AppError } from "../../src/errors.ts";
import type { Descriptor } from "../../src/oci/descriptor.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { RegistryClient } from "../../src/registry/client.ts";
import { RegistryRepository } from "../../src/registry/repository.ts";
import type { ClientOptions } from "../../src/registry/request.ts";
import type { LoggedRequest } from "../registry/log.ts";
import type { TestRegistry } from "../registry/registry.ts";

/** A clock whose sleeps are over at once; they move its time and stay on record, in milliseconds. */
export class FakeClock implements Clock {
  readonly sleeps: number[] = [];
  readonly #random: number;
  #now = 1000;

  /** `random` is what the jitter gets; 0 makes every back-off 0 ms long. */
  constructor(random = 0.5) {
    this.#random = random;
  }

  now(): number {
    return this.#now;
  }

  async sleep(ms: number): Promise<void> {
    this.sleeps.push(ms);
    this.#now += ms;
  }

  random(): number {
    return this.#random;
  }

  /** Lets time pass, in milliseconds. */
  advance(ms: number): void {
    this.#now += ms;
  }
}

/** A client under test with everything that it told. Disposing of it closes the client. */
export interface Watched extends AsyncDisposable {
  readonly client: RegistryClient;
  readonly clock: FakeClock;
  readonly warnings: readonly string[];
  /** What was tried again, and how many milliseconds later. */
  readonly retries: readonly { readonly what: string; readonly delayMs: number }[];
  repository(name: string): RegistryRepository;
}

/** A client of a registry (or of any `host:port`) with a clock that never waits. */
export function connectTo(registry: TestRegistry | string, options: ClientOptions = {}): Watched {
  const clock = new FakeClock();
  const warnings: string[] = [];
  const retries: { what: string; delayMs: number }[] = [];
  const client = new RegistryClient(typeof registry === "string" ? registry : registry.host, {
    clock,
    onWarning: (message) => warnings.push(message),
    onRetry: (what, _attempt, delayMs) => retries.push({ what, delayMs }),
    ...options,
  });
  return {
    client,
    clock,
    warnings,
    retries,
    repository: (name) => new RegistryRepository(client, name),
    [Symbol.asyncDispose]: () => client.close(),
  };
}

/** Bytes as a blob that comes in pieces, with the descriptor that fits them unless another one is given. */
export function blobSource(
  bytes: Buffer,
  options: {
    readonly pieceBytes?: number;
    readonly descriptor?: Descriptor;
    readonly isManifest?: boolean;
  } = {},
): BlobSource {
  const { pieceBytes = 64 * 1024, descriptor = descriptorOf(bytes), isManifest = false } = options;
  return { descriptor, isManifest, open: async (offset) => piecesOf(bytes.subarray(offset), pieceBytes) };
}

/** The descriptor of some bytes. */
export function descriptorOf(bytes: Buffer, mediaType = "application/octet-stream"): Descriptor {
  return { mediaType, digest: digestOf(bytes), size: bytes.length };
}

/** Cuts bytes into a stream of pieces. */
export async function* piecesOf(bytes: Buffer, pieceBytes: number): AsyncGenerator<Uint8Array, void> {
  for (let at = 0; at < bytes.length; at += pieceBytes) yield bytes.subarray(at, at + pieceBytes);
}

/** Reads a stream to its end. */
export async function collect(stream: ByteStream): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  // A chunk is only lent.
  for await (const chunk of stream) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks);
}

/** The AppError that a promise fails with; fails itself for anything else. */
export async function failureOf(promise: Promise<unknown>): Promise<AppError> {
  const outcome = await promise.then(
    () => "it succeeded",
    (error: unknown) => error,
  );
  if (outcome instanceof AppError) return outcome;
  throw new Error("not the expected AppError", { cause: outcome });
}

/** All that a user or a log could see of an error: messages, hints and facts, its causes included. */
export function everythingSaid(error: unknown): string {
  const said: string[] = [];
  for (let at = error; at instanceof Error; at = at.cause) {
    said.push(at.message, at instanceof AppError ? JSON.stringify([at.hint, at.details]) : "");
  }
  return said.join("\n");
}

/** The logged requests with this method and a URL that the pattern finds. */
export function logged(registry: TestRegistry, method: string, pattern: RegExp): readonly LoggedRequest[] {
  return registry.requests.filter((entry) => entry.method === method && pattern.test(entry.url));
}
