/** What a registry holds, asked of it: catalog, tags, and every manifest that a tag leads to. No blob is read. */
import pLimit from "p-limit";
import type { ReceiptRepository } from "../bundle/receipt.ts";
import type { RawManifest } from "../content/content.ts";
import { AppError, isAppError } from "../errors.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import type { Digest } from "../oci/digest.ts";
import { maxIndexDepth, type Parsed, parseManifest, successors } from "../oci/manifest.ts";
import { isForeignLayerType, isManifestOrIndexType } from "../oci/media-types.ts";
import { RegistryError } from "../registry/errors.ts";
import { listRepositories, listTags } from "../registry/listing.ts";
import { formatBytes, plural } from "../report/format.ts";
import type { PlanRequest } from "../sync/plan.ts";
import type { Registries } from "./registries.ts";
import type { RegistryTarget } from "./requests.ts";
import type { Session } from "./session.ts";

/** What to ask for: references by repository. Tags, or digests of images that have none. */
export type Wanted = ReadonlyMap<string, readonly string[]>;

/** Repositories at a time, and manifests at a time over all of them. */
const repositoryConcurrency = 8;
const manifestConcurrency = 16;

/** Every tag of every repository of a registry, or of those under its prefix. Warns of those that it does not show. */
export async function everything(
  registries: Registries,
  { host, prefix }: RegistryTarget,
  session: Session,
): Promise<Wanted> {
  const client = registries.client(host);
  const all = await listRepositories(client, session.signal).catch((error: unknown) => {
    if (!isAppError(error, "REGISTRY") || error instanceof RegistryError || error.hint === undefined)
      throw error;
    throw new AppError("REGISTRY", error.message, {
      hint: "say what to look for: -f LIST, or a bundle",
      cause: error,
    });
  });
  const repositories = all.filter(
    (name) => prefix === "" || name === prefix || name.startsWith(`${prefix}/`),
  );
  const refusals: AppError[] = [];
  const tags = await pLimit(repositoryConcurrency).map(repositories, async (repository) => {
    try {
      return [repository, await listTags(client, repository, session.signal)] as const;
    } catch (error) {
      session.signal.throwIfAborted();
      // A catalog names repositories that are empty or not ours to read.
      if (!isLeftOut(error)) throw error;
      if (error.code !== "NOT_FOUND") {
        refusals.push(error);
        session.emit({ type: "warning", message: `${error.message}; it is left out of the receipt` });
      }
      return [repository, []] as const;
    }
  });
  const [first] = refusals;
  // A receipt of nothing would be taken for an empty registry.
  if (first !== undefined && refusals.length === repositories.length) throw first;
  return new Map(tags);
}

/**
 * Asks for all that is wanted, and gives what is there: the repositories in order, each as soon as those before it are
 * done. What is not there is left out; what cannot be read is too, with a warning.
 */
export async function* takeReceipt(
  registries: Registries,
  host: string,
  wanted: Wanted,
  session: Session,
): AsyncGenerator<ReceiptRepository, void> {
  const names = [...wanted.keys()].sort();
  const images = names.reduce((sum, name) => sum + (wanted.get(name)?.length ?? 0), 0);
  session.emit({ type: "resolving", images });
  const reader = new HoldingsReader(registries, host, session, images);
  const begun: Promise<ReceiptRepository>[] = [];
  for (let at = 0; at < names.length; at += 1) {
    // So many are under way or wait for their turn, however many there are.
    for (
      let next = at + begun.length;
      begun.length < repositoryConcurrency && next < names.length;
      next += 1
    ) {
      const name = names[next] ?? "";
      const holdings = reader.read(name, wanted.get(name) ?? []);
      holdings.catch(() => undefined);
      begun.push(holdings);
    }
    const repository = await begun.shift();
    if (repository !== undefined && Object.keys(repository.manifests).length > 0) yield repository;
  }
}

class HoldingsReader {
  readonly #registries: Registries;
  readonly #host: string;
  readonly #session: Session;
  readonly #images: number;
  readonly #limit = pLimit(manifestConcurrency);
  #done = 0;

  constructor(registries: Registries, host: string, session: Session, images: number) {
    this.#registries = registries;
    this.#host = host;
    this.#session = session;
    this.#images = images;
  }

  async read(repository: string, references: readonly string[]): Promise<ReceiptRepository> {
    const tags = new Map<string, Digest>();
    const manifests = new Map<Digest, number>();
    const blobs = new Map<Digest, number>();
    const asked = new Set<Digest>();
    const walk = async (raw: RawManifest, depth: number): Promise<void> => {
      const { digest, mediaType } = raw.descriptor;
      if (manifests.has(digest)) return;
      manifests.set(digest, raw.bytes.byteLength);
      const parsed: Parsed = parseManifest(raw.bytes, mediaType, `${this.#host}/${repository}@${digest}`);
      const parts = successors(parsed);
      if (parsed.kind === "manifest") {
        // What nodes fetch from its vendor need not be here.
        for (const part of parts) if (!isForeignLayerType(part.mediaType)) blobs.set(part.digest, part.size);
        return;
      }
      if (depth === 0) return;
      await Promise.all(
        parts.map(async (child) => {
          // An index may also lead to blobs; of them it is not known whether they are here.
          if (!isManifestOrIndexType(child.mediaType) || asked.has(child.digest)) return;
          asked.add(child.digest);
          const found = await this.#manifest(repository, child.digest, child);
          if (found !== undefined) await walk(found, depth - 1);
        }),
      );
    };
    await Promise.all(
      references.map(async (reference) => {
        const raw = await this.#manifest(repository, reference);
        if (raw !== undefined) {
          await this.#orWarn(async () => await walk(raw, maxIndexDepth));
          if (!reference.includes(":")) tags.set(reference, raw.descriptor.digest);
        }
        this.#done += 1;
        const image = `${this.#host}/${repository}${reference.includes(":") ? "@" : ":"}${reference}`;
        this.#session.emit({ type: "resolved", image, done: this.#done, images: this.#images });
      }),
    );
    return { name: repository, tags: sorted(tags), manifests: sorted(manifests), blobs: sorted(blobs) };
  }

  /** Undefined for one that is not there, or cannot be read. */
  async #manifest(
    repository: string,
    reference: string,
    child?: Descriptor,
  ): Promise<RawManifest | undefined> {
    const source = this.#registries.repository(this.#host, repository);
    const { signal } = this.#session;
    return await this.#orWarn(
      async () =>
        await this.#limit(async () => {
          signal.throwIfAborted();
          return await source.manifest(reference, { signal, mediaType: child?.mediaType });
        }),
    );
  }

  /** What is wrong with one manifest costs that manifest: a receipt that says too little makes a delta larger, and no worse. */
  async #orWarn<T>(read: () => Promise<T>): Promise<T | undefined> {
    try {
      return await read();
    } catch (error) {
      this.#session.signal.throwIfAborted();
      if (!isLeftOut(error)) throw error;
      if (error.code === "NOT_FOUND") return undefined;
      this.#session.emit({ type: "warning", message: `${error.message}; it is left out of the receipt` });
      return undefined;
    }
  }
}

/** True for what concerns one repository or manifest, and not the registry as such: that would be no receipt of it. */
function isLeftOut(error: unknown): error is AppError {
  if (error instanceof RegistryError && (error.status >= 500 || error.limited)) return false;
  return isAppError(error, "NOT_FOUND", "AUTH", "DENIED", "REGISTRY", "INTEGRITY");
}

/** An object whose keys come in one order, whatever was found first. */
function sorted<T>(found: ReadonlyMap<string, T>): Record<string, T> {
  return Object.fromEntries([...found].sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** What to ask for, to find out what of these images is there. */
export function wantedBy(requests: readonly PlanRequest[]): Wanted {
  const wanted = new Map<string, Set<string>>();
  for (const { target, reference } of requests) {
    const references = wanted.get(target.repository) ?? new Set();
    wanted.set(target.repository, references.add(target.tag ?? reference));
  }
  return new Map([...wanted].map(([repository, references]) => [repository, [...references]]));
}

/** Counts what passes. Blobs count once a repository. */
export class HoldingsCount {
  readonly figures = { repositories: 0, tags: 0, manifests: 0, blobs: 0, bytes: 0 };

  /** Passes repositories on. */
  async *counting(repositories: AsyncIterable<ReceiptRepository>): AsyncGenerator<ReceiptRepository, void> {
    const { figures } = this;
    for await (const repository of repositories) {
      const sizes = [...Object.values(repository.manifests), ...Object.values(repository.blobs)];
      figures.repositories += 1;
      figures.tags += Object.keys(repository.tags).length;
      figures.manifests += Object.keys(repository.manifests).length;
      figures.blobs += Object.keys(repository.blobs).length;
      figures.bytes += sizes.reduce((sum, size) => sum + size, 0);
      yield repository;
    }
  }

  /** `12 repositories, 40 tags, 410 blobs (12.0 GiB)`. */
  get words(): string {
    const { repositories, tags, blobs, bytes } = this.figures;
    return `${plural(repositories, "repository", "repositories")}, ${plural(tags, "tag")}, ${plural(blobs, "blob")} (${formatBytes(bytes)})`;
  }
}
