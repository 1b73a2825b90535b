/** One repository of a registry as Source, Target and Mounter. */
import type {
  BlobSource,
  ByteStream,
  CallOptions,
  ManifestOptions,
  Mounter,
  OpenOptions,
  Pushed,
  PushOptions,
  RawManifest,
  Source,
  Target,
} from "../content/content.ts";
import { readAll } from "../content/verify.ts";
import { AppError } from "../errors.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import { algorithmOf, type Digest, digestOf, isDigest } from "../oci/digest.ts";
import { maxManifestBytes, parseManifest } from "../oci/manifest.ts";
import { bareMediaType, isManifestOrIndexType, manifestAccept } from "../oci/media-types.ts";
import type { RegistryClient } from "./client.ts";
import { RegistryError } from "./errors.ts";
import { type Answer, bodyStream, discard, drain, singleHeader } from "./http.ts";
import { findOrOpen, hasBlob } from "./presence.ts";
import { uploadBlob } from "./upload.ts";
import { sessionLocation, type UploadPlace } from "./upload-place.ts";
import { requestWhole } from "./whole.ts";

/** A repository. Cheap to make; all state is in the client. */
export class RegistryRepository implements Source, Target, Mounter {
  readonly client: RegistryClient;
  readonly repository: string;

  constructor(client: RegistryClient, repository: string) {
    this.client = client;
    this.repository = repository;
  }

  /** `host/repository`, for messages. */
  get name(): string {
    return `${this.client.registry}/${this.repository}`;
  }

  /** One HEAD; a GET where the registry's answer to HEAD is not enough (405, no digest). */
  async resolve(reference: string, options: CallOptions = {}): Promise<Descriptor> {
    const found = await this.#head(reference, options);
    if (found === "missing") throw this.#missing(reference);
    return found ?? (await this.manifest(reference, options)).descriptor;
  }

  /** GET of a manifest, verified: against the digest asked for, or the one computed where a tag was asked for. */
  async manifest(reference: string, options: ManifestOptions = {}): Promise<RawManifest> {
    const wanted = {
      method: "GET",
      path: this.#manifestPath(reference),
      what: `read ${this.#naming(reference)}`,
      scopes: this.#pull,
      headers: { accept: manifestAccept },
      signal: options.signal,
      accept: [200, 404],
    } as const;
    const { answer, bytes } = await requestWhole(this.client, wanted, maxManifestBytes);
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

  /** GET of a blob, with a closed range where the offset is not 0 (some registries refuse open ranges). */
  async open(descriptor: Descriptor, options: OpenOptions = {}): Promise<ByteStream> {
    const offset = options.offset ?? 0;
    const { digest, size } = descriptor;
    const what = `read blob ${digest} from ${this.name}`;
    const wanted = {
      method: "GET",
      path: `/v2/${this.repository}/blobs/${digest}`,
      what,
      scopes: this.#pull,
      signal: options.signal,
      blob: true,
      accept: [200, 206],
    } as const;
    if (offset === 0) return bodyStream(await this.client.request(wanted), what);
    const headers = { range: `bytes=${offset}-${size - 1}` };
    const answer = await this.client.request({ ...wanted, headers, accept: [200, 206, 416] });
    if (answer.status === 416) {
      // It takes no ranges (or not this one): the whole content will tell.
      discard(answer);
      return skipping(bodyStream(await this.client.request(wanted), what), offset);
    }
    if (answer.status === 200) return skipping(bodyStream(answer, what), offset);
    const range = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(singleHeader(answer, "content-range") ?? "");
    if (range?.[1] !== `${offset}` || (range[2] !== `${size}` && range[2] !== "*")) {
      discard(answer);
      throw new AppError("NETWORK", `Cannot ${what}: it answered with another range than the one asked for`);
    }
    return bodyStream(answer, what);
  }

  async has(descriptor: Descriptor, options: CallOptions = {}): Promise<boolean> {
    if (!isManifestOrIndexType(descriptor.mediaType))
      return await hasBlob(this.#place(), descriptor.digest, options.signal);
    const found = await this.#head(descriptor.digest, options);
    return found !== "missing" && found?.digest === descriptor.digest;
  }

  async push(blob: BlobSource, options: PushOptions = {}): Promise<Pushed> {
    if (blob.isManifest) {
      await this.#put(blob, blob.descriptor.digest, options);
      return "stored";
    }
    const place = this.#place();
    const found = await findOrOpen(place, blob.descriptor, options.signal);
    if (found === "present") return found;
    options.onStart?.();
    await uploadBlob(place, blob, options, found);
    return "stored";
  }

  async tag(manifest: BlobSource, tag: string, options: CallOptions = {}): Promise<void> {
    await this.#put(manifest, tag, options);
  }

  /** `POST …?mount=&from=` (distribution-spec "Mounting a blob from another repository"). */
  async mount(descriptor: Descriptor, fromRepository: string, options: CallOptions = {}): Promise<boolean> {
    try {
      const answer = await this.client.request({
        method: "POST",
        path: `/v2/${this.repository}/blobs/uploads/?mount=${encodeURIComponent(descriptor.digest)}&from=${encodeURIComponent(fromRepository)}`,
        what: `mount ${descriptor.digest} from ${fromRepository} into ${this.name}`,
        scopes: [...this.#push, `repository:${fromRepository}:pull`],
        body: "",
        signal: options.signal,
        accept: [201, 202],
      });
      await drain(answer);
      if (answer.status === 201) return true;
      // Not mounted: an upload session was opened instead, which nobody will use.
      const cancel = {
        method: "DELETE",
        path: sessionLocation(answer, this.#place()),
        what: "cancel an upload",
        scopes: this.#push,
      } as const;
      this.client.request({ ...cancel, accept: [204, 404], retry: false }).then(discard, () => undefined);
      return false;
    } catch (error) {
      // Some registries answer a foreign or unknown source with 401, 403, 404 or 5xx: a plain upload still works.
      if (error instanceof RegistryError || (error instanceof AppError && error.code === "AUTH"))
        return false;
      throw error;
    }
  }

  get #pull(): readonly string[] {
    return [`repository:${this.repository}:pull`];
  }

  get #push(): readonly string[] {
    return [`repository:${this.repository}:pull,push`];
  }

  #place(): UploadPlace {
    return { client: this.client, repository: this.repository, scopes: this.#push };
  }

  #manifestPath(reference: string): string {
    return `/v2/${this.repository}/manifests/${reference}`;
  }

  #naming(reference: string): string {
    return isDigest(reference) ? `${this.name}@${reference}` : `${this.name}:${reference}`;
  }

  #announced(answer: Answer): Digest | undefined {
    const text = singleHeader(answer, "docker-content-digest") ?? "";
    return isDigest(text) ? text : undefined;
  }

  #missing(reference: string): AppError {
    return new AppError(
      "NOT_FOUND",
      `Cannot find ${this.#naming(reference)}: ${this.client.registry} has no such ${isDigest(reference) ? "manifest" : "tag"}`,
      {
        hint: `check the name; mirror ls ${this.name} shows the tags that are there`,
        details: { host: this.client.registry, repository: this.repository, reference },
      },
    );
  }

  /** A HEAD; undefined where its answer does not tell enough and only a GET will do. */
  async #head(reference: string, options: CallOptions): Promise<Descriptor | "missing" | undefined> {
    const answer = await this.client.request({
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

  async #put(manifest: BlobSource, reference: string, options: CallOptions): Promise<void> {
    const { descriptor } = manifest;
    const bytes = await readAll(await manifest.open(0, options.signal), descriptor, maxManifestBytes);
    const answer = await this.client.request({
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

/** The answer to a range was the whole content: what came before the offset is read and dropped. */
async function* skipping(stream: ByteStream, bytes: number): AsyncGenerator<Uint8Array, void> {
  let left = bytes;
  for await (const chunk of stream) {
    if (left >= chunk.byteLength) left -= chunk.byteLength;
    else {
      yield left === 0 ? chunk : chunk.subarray(left);
      left = 0;
    }
  }
}
