/** The manifests of a repository: found, read and written as the bytes they are (distribution-spec "Pulling manifests"). */
import type { BlobSource, CallOptions, ManifestOptions, RawManifest } from "../content/content.ts";
import { readAll } from "../content/verify.ts";
import { AppError, isAppError } from "../errors.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import { algorithmOf, type Digest, digestOf, isDigest } from "../oci/digest.ts";
import { maxManifestBytes, type Parsed, parseManifest, usualManifestBytes } from "../oci/manifest.ts";
import { bareMediaType, isManifestOrIndexType } from "../oci/media-types.ts";
import type { RegistryClient } from "./client.ts";
import { printable } from "./errors.ts";
import { type Answer, drain, singleHeader } from "./http.ts";
import { manifestRefusal } from "./manifest-refusal.ts";
import {
  getManifest,
  headManifest,
  manifestName,
  putManifest,
  type RepositoryPlace,
} from "./manifest-requests.ts";
import { recordReferrer } from "./referrers-tag.ts";
import { requestWhole } from "./whole.ts";

/** So much is shown of an answer that is no manifest, in characters. */
const shownCharacters = 200;

/** What was warned of already: some registries get a header wrong in each of their answers. */
const told = new WeakMap<RegistryClient, Set<string>>();

/** The manifests of one repository. Cheap to make; all state is in the client. */
export class Manifests {
  readonly #place: RepositoryPlace;

  constructor(client: RegistryClient, repository: string) {
    this.#place = { client, repository };
  }

  /** One HEAD; a GET where the registry's answer to HEAD is not enough (405, no digest). */
  async resolve(reference: string, options: CallOptions = {}): Promise<Descriptor> {
    const found = await this.#head(reference, options);
    if (found === "missing") throw this.#missing(reference);
    return found ?? (await this.get(reference, options)).descriptor;
  }

  /** GET of a manifest, verified: against the digest asked for, or the one computed where a tag was asked for. */
  async get(reference: string, options: ManifestOptions = {}): Promise<RawManifest> {
    const wanted = getManifest(this.#place, reference, options.signal);
    const { answer, bytes } = await requestWhole(this.#client, wanted, maxManifestBytes);
    if (answer.status === 404) throw this.#missing(reference);
    const digest = digestOf(bytes, isDigest(reference) ? algorithmOf(reference) : "sha256");
    if (!/^\s*\{/.test(bytes.toString("utf8", 0, 1024))) throw this.#notAManifest(reference, answer, bytes);
    if (isDigest(reference) && digest !== reference) {
      throw new AppError(
        "INTEGRITY",
        `Cannot verify ${this.#naming(reference)}: the content has the digest ${digest}`,
        { side: "source" },
      );
    }
    const type = bareMediaType(singleHeader(answer, "content-type") ?? "");
    const hint = isManifestOrIndexType(type) ? type : (options.mediaType ?? type);
    const { mediaType } = parseManifest(bytes, hint, this.#naming(reference));
    if (!isDigest(reference)) this.#compareHeader(reference, answer, bytes);
    if (isManifestOrIndexType(type) && type !== mediaType) {
      this.#warnOnce(
        "content-type",
        `${this.#naming(reference)}: ${this.#client.registry} calls it ${type}, it calls itself ${mediaType}`,
        "the document's own word counts",
      );
    }
    return { bytes, descriptor: { mediaType, digest, size: bytes.byteLength } };
  }

  /** True if the repository has this very manifest: a HEAD that does not prove it is followed by a GET. */
  async has(digest: Digest, options: CallOptions = {}): Promise<boolean> {
    const found = await this.#head(digest, options);
    if (found === "missing") return false;
    if (found?.digest === digest) return true;
    try {
      return (await this.get(digest, options)).descriptor.digest === digest;
    } catch (error) {
      if (isAppError(error, "NOT_FOUND", "INTEGRITY")) return false;
      throw error;
    }
  }

  /**
   * PUT under a tag or a digest, proved by what the registry says it stored. A manifest with a subject is found from
   * its subject afterwards, and gets its tag only then. Throws INTEGRITY if the registry altered it, MissingParts if
   * the registry says that it lacks parts of it.
   */
  async put(manifest: BlobSource, reference: string, options: CallOptions): Promise<void> {
    const { descriptor } = manifest;
    const bytes = await readAll(await manifest.open(0, options.signal), descriptor, maxManifestBytes);
    const parsed = parseManifest(bytes, descriptor.mediaType, this.#naming(reference));
    if (bytes.byteLength > usualManifestBytes) {
      this.#warnOnce(
        `size ${descriptor.digest}`,
        `${this.#naming(reference)} is a manifest of ${(bytes.byteLength / 1024 / 1024).toFixed(1)} MiB`,
        "most registries take no more than 4 MiB",
      );
    }
    if (parsed.subject !== undefined && !isDigest(reference)) {
      // A run that ends between the tag and the record would leave an image that looks done and is not.
      await this.#write(bytes, parsed, descriptor, descriptor.digest, options);
    }
    await this.#write(bytes, parsed, descriptor, reference, options);
  }

  async #write(
    bytes: Buffer,
    parsed: Parsed,
    descriptor: Descriptor,
    reference: string,
    options: CallOptions,
  ): Promise<void> {
    const answer = await this.#send(bytes, parsed, reference, options);
    const stored = this.#announced(answer);
    // What is named by another algorithm is the same content if our bytes have that digest too.
    const expected = stored === undefined ? undefined : digestOf(bytes, algorithmOf(stored));
    if (stored !== expected) throw this.#altered(reference, descriptor, stored);
    const foreign = isDigest(reference) && stored !== undefined && stored !== reference;
    if (stored === undefined || foreign) await this.#prove(reference, descriptor, options);
    const subject = parsed.subject?.digest;
    if (subject === undefined || !isDigest(reference)) return;
    if (singleHeader(answer, "oci-subject")?.trim() === subject) return;
    await recordReferrer(this.#place, { subject, descriptor, parsed }, options.signal);
  }

  async #send(bytes: Buffer, parsed: Parsed, reference: string, options: CallOptions): Promise<Answer> {
    const { mediaType } = parsed;
    const wanted = putManifest(this.#place, reference, { bytes, mediaType }, options.signal);
    try {
      const answer = await this.#client.request(wanted);
      await drain(answer);
      return answer;
    } catch (error) {
      throw manifestRefusal(error, parsed, wanted.what, this.#client.registry);
    }
  }

  /** The answer to a PUT did not say what was stored, or not in our words: the registry is asked for it. */
  async #prove(reference: string, descriptor: Descriptor, options: CallOptions): Promise<void> {
    const found = await this.#head(reference, options);
    let digest = found === "missing" ? undefined : found?.digest;
    if (found !== "missing" && digest !== descriptor.digest) {
      const stored = await this.get(reference, options).catch((error: unknown) => {
        if (isAppError(error, "INTEGRITY")) throw this.#altered(reference, descriptor, undefined, error);
        throw error;
      });
      digest = digestOf(stored.bytes, algorithmOf(descriptor.digest));
    }
    if (digest === descriptor.digest) return;
    if (digest !== undefined) throw this.#altered(reference, descriptor, digest);
    throw new AppError(
      "REGISTRY",
      `Cannot write ${this.#naming(reference)}: ${this.#client.registry} took it, and does not have it`,
      { hint: "look at the registry's log, and run the same command again", side: "target" },
    );
  }

  get #client(): RegistryClient {
    return this.#place.client;
  }

  #naming(reference: string): string {
    return manifestName(this.#place, reference);
  }

  #announced(answer: Answer): Digest | undefined {
    const text = singleHeader(answer, "docker-content-digest") ?? "";
    return isDigest(text) ? text : undefined;
  }

  #missing(reference: string): AppError {
    const { client, repository } = this.#place;
    const host = client.registry;
    return new AppError(
      "NOT_FOUND",
      `Cannot find ${this.#naming(reference)}: ${host} has no such ${isDigest(reference) ? "manifest" : "tag"}`,
      {
        hint: `check the name; mirror ls ${host}/${repository} shows the tags that are there`,
        details: { host, repository, reference },
      },
    );
  }

  /** A login page, an error page, nothing at all: what came in place of a manifest. */
  #notAManifest(reference: string, answer: Answer, bytes: Buffer): AppError {
    const shown = printable(bytes.toString("utf8", 0, 4 * shownCharacters)).slice(0, shownCharacters);
    const state = shown === "" ? "an empty body" : JSON.stringify(shown.toWellFormed());
    return new AppError(
      "INTEGRITY",
      `Cannot read ${this.#naming(reference)}: ${answer.url.host} answered with what is not a manifest: ${state}`,
      {
        hint: "check the address: a login portal or another web server may answer in place of a registry",
        side: "source",
        details: { host: answer.url.host, status: answer.status },
      },
    );
  }

  #altered(reference: string, descriptor: Descriptor, stored?: Digest, cause?: unknown): AppError {
    const to = stored === undefined ? "" : ` to ${stored}`;
    return new AppError(
      "INTEGRITY",
      `Cannot verify ${this.#naming(reference)}: the registry altered the manifest ${descriptor.digest}${to}`,
      {
        hint: "it stores something else than it is sent: no image there can be trusted",
        side: "target",
        cause,
      },
    );
  }

  /** By tag, the header is a hint that many registries get wrong: what was computed is what counts. */
  #compareHeader(reference: string, answer: Answer, bytes: Buffer): void {
    const announced = this.#announced(answer);
    if (announced === undefined || digestOf(bytes, algorithmOf(announced)) === announced) return;
    this.#warnOnce(
      "digest",
      `${this.#naming(reference)}: ${this.#client.registry} gives it the digest ${announced}, which it does not have`,
      "the digest of the content itself is used",
    );
  }

  #warnOnce(about: string, message: string, hint: string): void {
    const known = told.get(this.#client) ?? new Set<string>();
    told.set(this.#client, known);
    if (known.has(about)) return;
    known.add(about);
    this.#client.warn(message, hint);
  }

  /** A HEAD; undefined where its answer does not tell enough and only a GET will do. */
  async #head(reference: string, options: CallOptions): Promise<Descriptor | "missing" | undefined> {
    const answer = await this.#client.request(headManifest(this.#place, reference, options.signal));
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
}
