/**
 * The referrers tag schema (distribution-spec "Referrers Tag Schema"): where a registry keeps no account of who refers
 * to a manifest, an index under a tag made of its digest does, and the clients maintain it.
 */
import { backoffMs, maxAttempts } from "../content/retry.ts";
import { AppError, isAppError } from "../errors.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import { algorithmOf, type Digest, hexOf } from "../oci/digest.ts";
import { maxManifestBytes, type Parsed, type ParsedIndex, parseManifest } from "../oci/manifest.ts";
import { mediaTypes } from "../oci/media-types.ts";
import type { RegistryClient } from "./client.ts";
import { RegistryError } from "./errors.ts";
import { drain } from "./http.ts";
import { getManifest, manifestName, putManifest, type RepositoryPlace } from "./manifest-requests.ts";
import { requestWhole } from "./whole.ts";

/** A manifest with a subject. */
interface Referrer {
  readonly subject: Digest;
  readonly descriptor: Descriptor;
  readonly parsed: Parsed;
}

/** What a registry answers where a tag cannot be written at all, now or later: immutable tags, for one. */
const refusedStatuses: readonly number[] = [400, 405, 409, 412];

/** The updates under way, by repository and subject: two at a time would lose one. */
const queues = new WeakMap<RegistryClient, Map<string, Promise<unknown>>>();

/** The tag that holds the referrers of a digest: algorithm and encoded part, cut to 32 and 64 characters. */
export function referrersTag(subject: Digest): string {
  const tag = `${algorithmOf(subject).slice(0, 32)}-${hexOf(subject).slice(0, 64)}`;
  return tag.replaceAll(/[^A-Za-z0-9_.-]/g, "-");
}

/**
 * The index under the referrers tag; undefined if there is no such tag, "other" if something else is under it.
 * Throws what the registry answered otherwise.
 */
export async function readReferrersTag(
  place: RepositoryPlace,
  subject: Digest,
  signal?: AbortSignal,
): Promise<{ readonly index: ParsedIndex; readonly bytes: Buffer } | "other" | undefined> {
  const tag = referrersTag(subject);
  const wanted = getManifest(place, tag, signal);
  const { answer, bytes } = await requestWhole(place.client, wanted, maxManifestBytes);
  if (answer.status === 404) return undefined;
  try {
    const parsed = parseManifest(bytes, mediaTypes.ociIndex, manifestName(place, tag));
    if (parsed.kind === "index" && parsed.mediaType === mediaTypes.ociIndex) return { index: parsed, bytes };
  } catch (error) {
    if (!isAppError(error, "INTEGRITY", "REGISTRY")) throw error;
  }
  return "other";
}

/**
 * Adds a manifest to the referrers of its subject, once. What another client wrote meanwhile is merged: it is read
 * again until the manifest is found there. A tag that holds something else, or that the registry lets nobody write, is
 * a warning, as the specification has it; any other failure is thrown, since a signature that nobody finds from its
 * image is not there.
 */
export async function recordReferrer(
  place: RepositoryPlace,
  referrer: Referrer,
  signal?: AbortSignal,
): Promise<void> {
  const queue = queues.get(place.client) ?? new Map<string, Promise<unknown>>();
  queues.set(place.client, queue);
  const key = `${place.repository} ${referrersTag(referrer.subject)}`;
  const before = queue.get(key) ?? Promise.resolve();
  const update = before.then(async () => await record(place, referrer, signal));
  const settled = update.catch(() => undefined);
  queue.set(key, settled);
  try {
    await update;
  } finally {
    if (queue.get(key) === settled) queue.delete(key);
  }
}

async function record(place: RepositoryPlace, referrer: Referrer, signal?: AbortSignal): Promise<void> {
  const { client } = place;
  const { subject, descriptor } = referrer;
  const name = manifestName(place, referrersTag(subject));
  const gone = new Set<Digest>();
  for (let attempt = 1; ; attempt += 1) {
    const found = await readReferrersTag(place, subject, signal);
    if (found === "other") {
      client.warn(
        `Cannot record in ${name} that ${descriptor.digest} refers to ${subject}: the tag holds something else than an index`,
        "the manifest is there, but clients that look for signatures do not find it from its subject",
      );
      return;
    }
    if (found?.index.manifests.some(({ digest }) => digest === descriptor.digest)) return;
    if (attempt > maxAttempts) {
      throw new AppError("REGISTRY", `Cannot record a referrer in ${name}: the tag changes again and again`, {
        hint: "another program writes to it: run the same command again",
        side: "target",
      });
    }
    if (attempt > 1) await client.clock.sleep(backoffMs(attempt - 1, client.clock), signal);
    try {
      const index = {
        bytes: withEntry(found?.bytes, entryOf(referrer), gone),
        mediaType: mediaTypes.ociIndex,
      };
      await drain(await client.request(putManifest(place, referrersTag(subject), index, signal)));
    } catch (error) {
      if (!(error instanceof RegistryError) || !refusedStatuses.includes(error.status)) throw error;
      // Others' referrers that were deleted since would keep ours out.
      const stale = error.problems
        .flatMap(({ digests = [] }) => digests)
        .filter((digest) => !gone.has(digest));
      const others = stale.filter((digest) => digest !== descriptor.digest);
      for (const digest of others) gone.add(digest);
      if (others.length > 0) continue;
      client.warn(
        `Cannot record that ${descriptor.digest} refers to ${subject}: ${error.message.replace(/^Cannot /, "cannot ")}`,
        "the manifest is there, but clients that look for signatures do not find it from its subject",
      );
      return;
    }
  }
}

/** The entry of distribution-spec "Pushing Manifests with Subject": type and annotations are the manifest's own. */
function entryOf({ descriptor, parsed }: Referrer): Descriptor {
  const { artifactType, annotations } = parsed;
  const type = artifactType ?? (parsed.kind === "manifest" ? parsed.config?.mediaType : undefined);
  return {
    mediaType: parsed.mediaType,
    digest: descriptor.digest,
    size: descriptor.size,
    ...(type === undefined ? {} : { artifactType: type }),
    ...(annotations === undefined ? {} : { annotations }),
  };
}

/** The index with one entry more; every other field of it, known to us or not, stays as it was. */
function withEntry(bytes: Buffer | undefined, entry: Descriptor, gone: ReadonlySet<string>): Buffer {
  const empty = { schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests: [] };
  const document = (bytes === undefined ? empty : JSON.parse(bytes.toString("utf8"))) as {
    readonly manifests: readonly { readonly digest: string }[];
  };
  const kept = document.manifests.filter(({ digest }) => !gone.has(digest));
  return Buffer.from(JSON.stringify({ ...document, manifests: [...kept, entry] }));
}
