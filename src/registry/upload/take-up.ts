/**
 * How the upload of a blob begins: with what is there already. The repository may have it; another one may, which an
 * earlier run has put it into; or an earlier run was cut off in the middle of it, and its session goes on.
 */
import type { Descriptor } from "../../oci/descriptor.ts";
import { shortDigest } from "../../oci/digest.ts";
import { mountBlob } from "./mount.ts";
import { findOrOpen, hasBlob } from "./presence.ts";
import { cancelSession, statusOf } from "./session.ts";
import type { UploadRecord } from "./session-notes.ts";
import type { UploadSession } from "./state.ts";
import { rememberedLocation, type UploadPlace, uploadKey } from "./upload-place.ts";

/** What there is of an upload before it begins. */
export interface Begun {
  /** A session to go on in. */
  readonly session?: UploadSession | undefined;
  /** The record of an earlier run that is ours now. */
  readonly record?: UploadRecord | undefined;
}

interface Left {
  readonly session: UploadSession;
  readonly record: UploadRecord;
}

/** Finds out whether a repository has a blob, and if it has not, what there is to begin with. */
export async function findOrTakeUp(
  place: UploadPlace,
  descriptor: Descriptor,
  signal?: AbortSignal,
): Promise<"present" | Begun> {
  const left = await leftOf(place, descriptor, signal);
  if (await mountFromNotes(place, descriptor, signal)) return await present(place, left);
  if (left === undefined) {
    const found = await findOrOpen(place, descriptor, signal);
    return found === "present" ? found : { session: found };
  }
  if (await hasBlob(place, descriptor.digest, signal)) return await present(place, left);
  const opened = place.client.uploads.take(uploadKey(place, descriptor.digest));
  const session = await goOnWith(place, left, descriptor, signal);
  if (session === undefined) return { session: opened };
  if (opened !== undefined) cancelSession(place, opened);
  return { session, record: left.record };
}

/** What a run that has died has left of this upload. */
async function leftOf(
  place: UploadPlace,
  descriptor: Descriptor,
  signal?: AbortSignal,
): Promise<Left | undefined> {
  const { client } = place;
  const left = await client.uploads.notes?.sessions?.take(place.repository, descriptor);
  if (left === undefined) return undefined;
  const location = rememberedLocation(left.session.location, await client.connect(signal), place);
  if (location !== undefined)
    return { ...left, session: { location: location.href, offset: left.session.offset } };
  await left.record.drop();
  return undefined;
}

/** Mounts a blob from where it is said to be, by this run or an earlier one; false if it knows no such place, or that did not work. */
async function mountFromNotes(
  place: UploadPlace,
  { digest }: Descriptor,
  signal?: AbortSignal,
): Promise<boolean> {
  const { uploads } = place.client;
  for (const from of await uploads.elsewhere(digest, place.repository)) {
    // A mount in this run that was refused has opened a session: it waits for the upload.
    if (uploads.waits(uploadKey(place, digest))) return false;
    if (!(await mountBlob(place, digest, from, signal))) continue;
    uploads.notes?.stored.add(digest, place.repository);
    return true;
  }
  return false;
}

async function present(place: UploadPlace, left: Left | undefined): Promise<"present"> {
  if (left !== undefined) {
    await left.record.drop();
    cancelSession(place, left.session);
  }
  return "present";
}

/** The session where the registry says that it stands; undefined if the blob has to begin anew, which the user is told. */
async function goOnWith(
  place: UploadPlace,
  left: Left,
  { digest, size }: Descriptor,
  signal?: AbortSignal,
): Promise<UploadSession | undefined> {
  const { client, repository } = place;
  const { at, refusal } = await statusOf(place, left.session, { signal });
  // It is only busy, or ill: the session is for the next run, if this one does not outlast that.
  if (refusal?.passing === true) throw refusal;
  if (at !== undefined && at.offset >= left.session.offset && at.offset <= size) return at;
  await left.record.drop();
  cancelSession(place, left.session);
  const why =
    at === undefined
      ? `${client.registry} does not tell how far it got${refusal === undefined ? "" : ` (${refusal.status})`}`
      : `${client.registry} says that it got to byte ${at.offset}, which cannot be`;
  client.warn(
    `the upload of ${shortDigest(digest)} (${formatMiB(size)}) to ${client.registry}/${repository} begins anew: ${why}`,
  );
  return undefined;
}

function formatMiB(bytes: number): string {
  return `${(bytes / 1024 / 1024).toFixed(1)} MiB`;
}
