/** The manifests of a repository: found, read and written as the bytes they are (distribution-spec "Pulling manifests"). */
import type { BlobSource, CallOptions, ManifestOptions, RawManifest } from "../content/content.ts";
import { readAll } from "../content/verify.ts";
import { AppError } from "../errors.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import { algorithmOf, type Digest, digestOf, isDigest } from "../oci/digest.ts";
import { maxManifestBytes, parseManifest } from "../oci/manifest.ts";
import { bareMediaType, isManifestOrIndexType, manifestAccept } from "../oci/media-types.ts";
import type { RegistryClient } from "./client.ts";
import { type Answer, drain, singleHeader } from "./http.ts";
import { requestWhole } from "./whole.ts";

/** The manifests of one repository. Cheap to make; all state is in the client. */
export class Manifests {
  readonly #client: RegistryClient;
  readonly #repository: string;

  constructor(client: RegistryClient, repository: string) {
    this.#client = client;
    this.#repository = repository;
  }

  /** One HEAD; a GET where the registry's answer to HEAD is not enough (405, no digest). */
  async resolve(reference: string, options: CallOptions = {}): Promise<Descriptor> {
    const found = await this.#head(reference, options);
    if (found === "missing") throw this.#missing(reference);
    return found ?? (await this.get(reference, options)).descriptor;
  }

  /** GET of a manifest, verified: against the digest asked for, or the one computed where a tag was asked for. */
  async get(reference: string, options: ManifestOptions = {}): Promise<RawManifest> {
    const wanted = {
      method: "GET",
      path: this.#manifestPath(reference),
      what: `read ${this.#naming(reference)}`,
      scopes: this.#pull,
      headers: { accept: manifestAccept },
      signal: options.signal,
      accept: [200, 404],
    } as const;
    const { answer, bytes } = await requestWhole(this.#client, wanted, maxManifestBytes);
    if (answer.status === 404) throw this.#missing(reference);
    const digest = digestOf(bytes, isDigest(reference) ? algorithmOf(reference) : "sha256");
    if (isDigest(reference) && digest !== reference) {
      throw new AppError(
        "INTEGRITY",
        `Cannot verify ${this.#naming(reference)}: the content has the digest ${digest}`,
        { side: "source" },
      );
    }
    // By tag, the header is a hint that many registries get wrong: what was computed is what counts.
    const type = bareMediaType(singleHeader(answer, "content-type") ?? "");
    const hint = isManifestOrIndexType(type) ? type : (options.mediaType ?? type);
    const { mediaType } = parseManifest(bytes, hint, this.#naming(reference));
    return {
      bytes,
      descriptor: {
        mediaType,
        digest,
        size: bytes.byteLength,
      },
    };
  }

  /** True if the repository has this very manifest. */
  async has(digest: Digest, options: CallOptions = {}): Promise<boolean> {
    const found = await this.#head(digest, options);
    return found !== "missing" && found?.digest === digest;
  }

  get #name(): string {
    return `${this.#client.registry}/${this.#repository}`;
  }

  get #pull(): readonly string[] {
    return [`repository:${this.#repository}:pull`];
  }

  get #push(): readonly string[] {
    return [`repository:${this.#repository}:pull,push`];
  }

  #manifestPath(reference: string): string {
    return `/v2/${this.#repository}/manifests/${reference}`;
  }

  #naming(reference: string): string {
    return isDigest(reference) ? `${this.#name}@${reference}` : `${this.#name}:${reference}`;
  }

  #announced(answer: Answer): Digest | undefined {
    const text = singleHeader(answer, "docker-content-digest") ?? "";
    return isDigest(text) ? text : undefined;
  }

  #missing(reference: string): AppError {
    return new AppError(
      "NOT_FOUND",
      `Cannot find ${this.#naming(reference)}: ${this.#client.registry} has no such ${isDigest(reference) ? "manifest" : "tag"}`,
      {
        hint: `check the name; mirror ls ${this.#name} shows the tags that are there`,
        details: { host: this.#client.registry, repository: this.#repository, reference },
      },
    );
  }

  /** A HEAD; undefined where its answer does not tell enough and only a GET will do. */
  async #head(reference: string, options: CallOptions): Promise<Descriptor | "missing" | undefined> {
    const answer = await this.#client.request({
      method: "HEAD",
      path: this.#manifestPath(reference),
      what: `look for ${this.#naming(reference)}`,
      scopes: this.#pull,
      headers: { accept: manifestAccept },
      signal: options.signal,
      accept: [200, 404, 405],
    });
    await drain(answer);
    if (answer.status === 404) return "missing";
    const digest = this.#announced(answer);
    const size = Number(singleHeader(answer, "content-length") ?? Number.NaN);
    const mediaType = bareMediaType(singleHeader(answer, "content-type") ?? "");
    if (
      answer.status !== 200 ||
      digest === undefined ||
      !Number.isSafeInteger(size) ||
      !isManifestOrIndexType(mediaType)
    )
      return undefined;
    return { mediaType, digest, size };
  }

  /** PUT under a tag or a digest, verified by what the registry says it stored. Throws INTEGRITY if it altered it. */
  async put(manifest: BlobSource, reference: string, options: CallOptions): Promise<void> {
    const { descriptor } = manifest;
    const bytes = await readAll(await manifest.open(0, options.signal), descriptor, maxManifestBytes);
    const answer = await this.#client.request({
      method: "PUT",
      path: this.#manifestPath(reference),
      what: `write ${this.#naming(reference)}`,
      scopes: this.#push,
      headers: { "content-type": descriptor.mediaType },
      body: bytes,
      signal: options.signal,
      accept: [200, 201, 202, 204],
    });
    await drain(answer);
    const stored = this.#announced(answer);
    if (
      stored !== undefined &&
      algorithmOf(stored) === algorithmOf(descriptor.digest) &&
      stored !== descriptor.digest
    ) {
      throw new AppError(
        "INTEGRITY",
        `Cannot verify ${this.#naming(reference)}: the registry altered the manifest ${descriptor.digest} to ${stored}`,
        { side: "target" },
      );
    }
  }
}
