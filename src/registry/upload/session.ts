/** The small requests of an upload session: they open it, ask for its state and end it (distribution-spec "Pushing blobs"). */
import { hinted, isAppError } from "../../errors.ts";
import { RegistryError, type UploadPosition } from "../errors.ts";
import { type Answer, discard, drain, singleHeader } from "../http.ts";
import type { UploadItem } from "./item.ts";
import type { UploadSession } from "./state.ts";
import { resolveLocation, sessionLocation, type UploadPlace } from "./upload-place.ts";

/** Opens a session. Throws what the registry answers. */
export async function openSession(
  place: UploadPlace,
  { shortName }: UploadItem,
  signal?: AbortSignal,
): Promise<UploadSession> {
  const { client, repository, scopes } = place;
  const what = `start an upload to ${client.registry}/${repository} (${shortName})`;
  const path = `/v2/${repository}/blobs/uploads/`;
  const request = { method: "POST", path, what, scopes, body: "", signal, accept: [202] } as const;
  const answer = await client.request(request).catch((error: unknown) => {
    if (!isAppError(error, "NOT_FOUND")) throw error;
    // Most registries make a repository with its first upload; ECR does not.
    throw hinted(
      error,
      `create the repository ${repository} at ${client.registry} first, and check its name`,
    );
  });
  return await openedSession(answer, place);
}

/** The session that an answer with 202 has opened. */
export async function openedSession(answer: Answer, place: UploadPlace): Promise<UploadSession> {
  await drain(answer);
  const least = singleHeader(answer, "oci-chunk-min-length") ?? "";
  if (/^\d{1,15}$/.test(least)) place.client.manners.atLeast(Number(least));
  return { location: sessionLocation(answer, place).href, offset: 0 };
}

/** What a registry tells of a session. */
export interface SessionStatus {
  /** Where it stands; undefined if that is not told, or cannot be told from any other place. */
  readonly at: UploadSession | undefined;
  /** The answer that told nothing. */
  readonly refusal?: RegistryError;
  /** It was an answer to the question. */
  readonly speaks: boolean;
}

/** Asks a registry for the state of a session. Throws what keeps it from answering. */
export async function statusOf(
  place: UploadPlace,
  session: UploadSession,
  options: { readonly signal?: AbortSignal | undefined; readonly retry?: boolean } = {},
): Promise<SessionStatus> {
  const { client } = place;
  try {
    const answer = await client.request({
      ...options,
      method: "GET",
      path: new URL(session.location),
      what: `ask how far an upload to ${client.registry}/${place.repository} has got`,
      scopes: place.scopes,
      accept: [200, 202, 204],
    });
    await drain(answer);
    const told = { location: singleHeader(answer, "location"), range: singleHeader(answer, "range") };
    // A page that has nothing to do with uploads is no answer.
    const speaks = answer.status === 204 || told.range !== undefined;
    return { at: speaks ? positionOf(told, session, place) : undefined, speaks };
  } catch (error) {
    if (!(error instanceof RegistryError)) throw error;
    return { at: undefined, refusal: error, speaks: false };
  }
}

/** Asks how far a session has got; undefined if the registry does not tell, or has lost it. */
export async function askSession(
  place: UploadPlace,
  session: UploadSession,
  signal?: AbortSignal,
): Promise<UploadSession | undefined> {
  const { manners } = place.client;
  if (!manners.tellsStatus) return undefined;
  const { at, speaks } = await statusOf(place, session, { signal });
  manners.statusTold(speaks);
  return at;
}

/** The session at the place that an answer tells; undefined if it tells none that can be told from any other. */
export function positionOf(
  { location, range }: UploadPosition,
  session: UploadSession,
  place: UploadPlace,
): UploadSession | undefined {
  const end = /^(?:bytes=)?0-(-?\d{1,15})$/.exec(range ?? "")?.[1];
  // Nothing at all is told in three ways, one of which could be one byte as well.
  const empty = range === undefined || end === "-1" || end === "0";
  if (end === undefined && range !== undefined) return undefined;
  if (empty && session.offset > 0) return undefined;
  const from = new URL(session.location);
  return {
    location: location === undefined ? session.location : resolveLocation(location, from, place).href,
    offset: empty ? 0 : Number(end) + 1,
  };
}

/** Tells the registry that a session is over. Its answer is of no interest: the session would expire anyway. */
export function cancelSession(place: UploadPlace, session: UploadSession): void {
  place.client.uploads.cancelling(endSession(place, session));
}

/** The same, resolved when it has answered; never rejects. */
export async function endSession(place: UploadPlace, session: UploadSession): Promise<void> {
  const request = {
    method: "DELETE",
    path: new URL(session.location),
    what: "cancel an upload",
    scopes: place.scopes,
    accept: [200, 202, 204, 404],
    retry: false,
  } as const;
  await place.client.request(request).then(discard, () => undefined);
}
