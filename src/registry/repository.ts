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
import { isAppError } from "../errors.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import { isManifestOrIndexType } from "../oci/media-types.ts";
import { openBlob } from "./blob-reader.ts";
import type { RegistryClient } from "./client.ts";
import { RegistryError } from "./errors.ts";
import { openForeign } from "./foreign.ts";
import { discard, drain } from "./http.ts";
import { Manifests } from "./manifests.ts";
import { findOrOpen, hasBlob } from "./upload/presence.ts";
import { uploadBlob } from "./upload/upload.ts";
import { sessionLocation, type UploadPlace } from "./upload/upload-place.ts";

/** A repository. Cheap to make; all state is in the client. */
export class RegistryRepository implements Source, Target, Mounter {
  readonly client: RegistryClient;
  readonly repository: string;
  readonly #manifests: Manifests;

  constructor(client: RegistryClient, repository: string) {
    this.client = client;
    this.repository = repository;
    this.#manifests = new Manifests(client, repository);
  }

  /** `host/repository`, for messages. */
  get name(): string {
    return `${this.client.registry}/${this.repository}`;
  }

  async resolve(reference: string, options: CallOptions = {}): Promise<Descriptor> {
    return await this.#manifests.resolve(reference, options);
  }

  async manifest(reference: string, options: ManifestOptions = {}): Promise<RawManifest> {
    return await this.#manifests.get(reference, options);
  }

  async open(descriptor: Descriptor, options: OpenOptions = {}): Promise<ByteStream> {
    try {
      return await openBlob(this.client, this.repository, descriptor, options);
    } catch (error) {
      if (!descriptor.urls?.length || !isAppError(error, "NOT_FOUND")) throw error;
      return await openForeign(this.client, descriptor, options, error);
    }
  }

  async has(descriptor: Descriptor, options: CallOptions = {}): Promise<boolean> {
    if (!isManifestOrIndexType(descriptor.mediaType))
      return await hasBlob(this.#place(), descriptor.digest, options.signal);
    return await this.#manifests.has(descriptor.digest, options);
  }

  async push(blob: BlobSource, options: PushOptions = {}): Promise<Pushed> {
    if (blob.isManifest) {
      await this.#manifests.put(blob, blob.descriptor.digest, options);
      return "stored";
    }
    const place = this.#place();
    const found =
      options.force === true ? undefined : await findOrOpen(place, blob.descriptor, options.signal);
    if (found === "present") return found;
    options.onStart?.();
    await uploadBlob(place, blob, options, found);
    return "stored";
  }

  async tag(manifest: BlobSource, tag: string, options: CallOptions = {}): Promise<void> {
    await this.#manifests.put(manifest, tag, options);
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
      if (error instanceof RegistryError || isAppError(error, "AUTH", "DENIED")) return false;
      throw error;
    }
  }

  get #push(): readonly string[] {
    return [`repository:${this.repository}:pull,push`];
  }

  #place(): UploadPlace {
    return { client: this.client, repository: this.repository, scopes: this.#push };
  }
}
