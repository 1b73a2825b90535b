/**
 * Several sources of the same content as one: pull-through mirrors in front of the registry that an image is named
 * after. A tag is resolved where it is found first; all else is asked for by digest, so any of them may serve it.
 */
import { AppError, isAppError } from "../errors.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import type { Digest } from "../oci/digest.ts";
import type {
  ByteStream,
  CallOptions,
  ManifestOptions,
  OpenOptions,
  RawManifest,
  SeveralPlaces,
  Source,
} from "./content.ts";

/** Failed requests in a row, each of them after many tries, or wrong contents in all: then a place is left alone. */
const maxFailures = 3;

/** What a run has learned of one host that is asked before others: shared by all sources that ask it. */
export class Place {
  readonly #name: string;
  readonly #warn: (message: string, hint?: string) => void;
  readonly #told = new Set<string>();
  #failures = 0;
  #lies = 0;
  #usable = true;

  /** `name` is what warnings call it: `mirror.internal:5000`. */
  constructor(name: string, warn: (message: string, hint?: string) => void) {
    this.#name = name;
    this.#warn = warn;
  }

  /** False once it is known that it cannot be reached, or only fails. */
  get usable(): boolean {
    return this.#usable;
  }

  succeeded(): void {
    this.#failures = 0;
  }

  /** Counts a failure, and warns of it unless that has been done. That something is missing is no failure. */
  failed(error: AppError): void {
    if (error.code === "NOT_FOUND") return;
    const unreachable = isAppError(error, "NETWORK", "TLS");
    if (error.code === "REGISTRY") this.#failures += 1;
    if (error.code === "INTEGRITY") this.#lies += 1;
    const over = unreachable || this.#failures >= maxFailures || this.#lies >= maxFailures;
    if (over && this.#usable) {
      this.#usable = false;
      this.#warn(`the mirror ${this.#name} is left out from now on: ${error.message}`, error.hint);
    } else if (this.#usable && (error.code === "INTEGRITY" || !this.#told.has(error.code))) {
      this.#told.add(error.code);
      this.#warn(`the mirror ${this.#name} is passed over: ${error.message}`, error.hint);
    }
  }
}

/** A source, and what is known of the host that it is at; none for the last one, whose failures count. */
export interface PlacedSource {
  readonly source: Source;
  readonly place?: Place | undefined;
}

/** Asks its sources in turn. Throws what the last one throws; an interruption at once. */
export class FallbackSource implements Source, SeveralPlaces {
  readonly #sources: readonly PlacedSource[];
  /** Sources that do not have a blob, or have a wrong one. */
  readonly #without = new Map<Digest, Set<Source>>();
  /** Where the bytes of a blob have come from since it was last begun. */
  readonly #from = new Map<Digest, Set<PlacedSource>>();

  /** The last one is the registry itself: it has no place. */
  constructor(sources: readonly PlacedSource[]) {
    this.#sources = sources;
  }

  async resolve(reference: string, options: CallOptions = {}): Promise<Descriptor> {
    return await this.#first(this.#usable, options, async ({ source }) => source.resolve(reference, options));
  }

  async manifest(reference: string, options: ManifestOptions = {}): Promise<RawManifest> {
    return await this.#first(this.#usable, options, async ({ source }) =>
      source.manifest(reference, options),
    );
  }

  async open(descriptor: Descriptor, options: OpenOptions = {}): Promise<ByteStream> {
    const { digest } = descriptor;
    const wrong = this.#without.get(digest);
    const left = this.#usable.filter(
      ({ source, place }) => place === undefined || wrong?.has(source) !== true,
    );
    return await this.#first(left, options, async (from) => {
      try {
        const stream = await from.source.open(descriptor, options);
        this.#note(digest, from, options);
        return from.place === undefined ? stream : this.#watched(stream, descriptor, from, options);
      } catch (error) {
        this.#exclude(digest, from);
        throw error;
      }
    });
  }

  distrust({ digest }: Descriptor): boolean {
    let elsewhere = false;
    for (const from of this.#from.get(digest) ?? []) {
      if (from.place === undefined) continue;
      elsewhere = true;
      this.#exclude(digest, from);
      from.place.failed(new AppError("INTEGRITY", `${digest} did not verify as it came from there`));
    }
    return elsewhere;
  }

  #note(digest: Digest, from: PlacedSource, { offset = 0 }: OpenOptions): void {
    const known = offset === 0 ? undefined : this.#from.get(digest);
    this.#from.set(digest, (known ?? new Set()).add(from));
  }

  get #usable(): readonly PlacedSource[] {
    return this.#sources.filter(({ place }) => place?.usable !== false);
  }

  #exclude(digest: Digest, { source }: PlacedSource): void {
    const wrong = this.#without.get(digest) ?? new Set();
    wrong.add(source);
    this.#without.set(digest, wrong);
  }

  async #first<T>(
    sources: readonly PlacedSource[],
    { signal }: CallOptions,
    ask: (from: PlacedSource) => Promise<T>,
  ): Promise<T> {
    for (const from of sources) {
      const { place } = from;
      if (place === undefined) return await ask(from);
      // It may have been left out while this one waited for another.
      if (!place.usable) continue;
      try {
        const found = await ask(from);
        place.succeeded();
        return found;
      } catch (error) {
        if (signal?.aborted === true || !isAppError(error) || isAppError(error, "INTERRUPTED", "INTERNAL"))
          throw error;
        place.failed(error);
      }
    }
    throw new Error("the last source has no place");
  }

  /** A stream that breaks before its first byte leads elsewhere; one that moves is gone on with. */
  async *#watched(
    stream: ByteStream,
    { digest, size }: Descriptor,
    from: PlacedSource,
    { offset = 0 }: OpenOptions,
  ): AsyncGenerator<Uint8Array, void> {
    let moved = false;
    try {
      for await (const chunk of stream) {
        moved ||= chunk.byteLength > 0;
        yield chunk;
      }
    } catch (error) {
      if (!moved || !isAppError(error, "NETWORK")) this.#exclude(digest, from);
      throw error;
    }
    if (!moved && offset < size) this.#exclude(digest, from);
  }
}
