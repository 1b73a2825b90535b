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
import type { PassingContent, Stage, StageOptions } from "../content/passing-content.ts";
import { isAppError } from "../errors.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import { isManifestOrIndexType } from "../oci/media-types.ts";
import { openBlob } from "./blob-reader.ts";
import type { RegistryClient } from "./client.ts";
import { openForeign } from "./foreign.ts";
import { Manifests } from "./manifests.ts";
import { pushScope } from "./scopes.ts";
import { blobItem, passingItem } from "./upload/item.ts";
import { mountBlob } from "./upload/mount.ts";
import { hasBlob } from "./upload/presence.ts";
import type { StoredNotes } from "./upload/stored-notes.ts";
import { findOrTakeUp } from "./upload/take-up.ts";
import { upload } from "./upload/upload.ts";
import { type UploadPlace, uploadKey } from "./upload/upload-place.ts";

/** A repository. Cheap to make; all state is in the client. */
export class RegistryRepository implements Source, Target, Mounter, Stage {
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
      await this.#notes?.flush();
      await this.#manifests.put(blob, blob.descriptor.digest, options);
      return "stored";
    }
    // Two sources may give the same blob at the same time.
    const key = `${uploadKey(this, blob.descriptor.digest)}${options.force === true ? " again" : ""}`;
    return await this.client.uploads.once(
      key,
      options.signal,
      async () => await this.#pushBlob(blob, options),
    );
  }

  async tag(manifest: BlobSource, tag: string, options: CallOptions = {}): Promise<void> {
    // Once the image is complete nobody looks for its blobs here again: what they are good for elsewhere is known then.
    await this.#notes?.flush();
    await this.#manifests.put(manifest, tag, options);
  }

  async mount(descriptor: Descriptor, fromRepository: string, options: CallOptions = {}): Promise<boolean> {
    const { digest } = descriptor;
    const mounted = await mountBlob(this.#place(), digest, fromRepository, options.signal);
    if (mounted) this.#notes?.add(digest, this.repository);
    return mounted;
  }

  /** Stores content that goes by under the digest that it comes to. */
  async stage(content: PassingContent, options: StageOptions = {}): Promise<void> {
    await upload(this.#place(), passingItem(content), options);
    this.#notes?.add(await content.digest(), this.repository);
  }

  async #pushBlob(blob: BlobSource, options: PushOptions): Promise<Pushed> {
    const place = this.#place();
    const found = options.force === true ? {} : await findOrTakeUp(place, blob.descriptor, options.signal);
    if (found === "present") {
      // The run that stored it may have ended before it could note that.
      this.#notes?.add(blob.descriptor.digest, this.repository);
      return found;
    }
    options.onStart?.();
    const record =
      found.record ?? this.client.uploads.notes?.sessions?.record(this.repository, blob.descriptor);
    await upload(place, blobItem(blob), options, { ...found, record });
    this.#notes?.add(blob.descriptor.digest, this.repository);
    return "stored";
  }

  get #notes(): StoredNotes | undefined {
    return this.client.uploads.notes?.stored;
  }

  #place(): UploadPlace {
    return { client: this.client, repository: this.repository, scopes: [pushScope(this.repository)] };
  }
}
