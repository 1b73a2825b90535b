/** Is a blob in a repository? Asked by HEAD, or by the request that opens an upload if it is not. */
import type { Descriptor } from "../../oci/descriptor.ts";
import type { Digest } from "../../oci/digest.ts";
import { RegistryError } from "../errors.ts";
import { drain } from "../http.ts";
import { cancelSession, openedSession } from "./session.ts";
import type { UploadSession } from "./state.ts";
import { type UploadPlace, uploadKey } from "./upload-place.ts";

/** HEAD of a blob: true if the repository has it. */
export async function hasBlob(place: UploadPlace, digest: Digest, signal?: AbortSignal): Promise<boolean> {
  const answer = await place.client.request({
    method: "HEAD",
    path: `/v2/${place.repository}/blobs/${digest}`,
    what: `look for ${digest} in ${place.client.registry}/${place.repository}`,
    scopes: place.scopes,
    signal,
    accept: [200, 404],
    // The registry has it, and leads to a URL that is signed for GET only.
    acceptElsewhere: [403, 405, 501],
  });
  await drain(answer);
  return answer.status !== 404;
}

/**
 * Finds out whether a repository has a blob, and if it has not, opens the session to upload it where one request
 * can do both (undefined: no session yet). A registry whose first "it is there" does not stand a HEAD, or that
 * refuses such requests, is asked by HEAD from then on.
 */
export async function findOrOpen(
  place: UploadPlace,
  { digest }: Descriptor,
  signal?: AbortSignal,
): Promise<"present" | UploadSession | undefined> {
  const { manners, uploads } = place.client;
  const opened = uploads.take(uploadKey(place, digest));
  if (opened !== undefined) {
    // A mount that was refused says that it could not be taken over, and not that it is not here.
    if (!(await hasBlob(place, digest, signal))) return opened;
    cancelSession(place, opened);
    return "present";
  }
  if (manners.findsByMount) {
    const found = await mountFromItself(place, digest, signal);
    if (typeof found === "object") return found;
    if (found === "present") {
      if (manners.mountProved) return found;
      manners.mountProved = await hasBlob(place, digest, signal);
      if (manners.mountProved) return found;
      manners.mountRefused();
      return undefined;
    }
    manners.mountRefused();
  }
  return (await hasBlob(place, digest, signal)) ? "present" : undefined;
}

async function mountFromItself(
  place: UploadPlace,
  digest: Digest,
  signal?: AbortSignal,
): Promise<"present" | "refused" | UploadSession> {
  const query = `mount=${encodeURIComponent(digest)}&from=${encodeURIComponent(place.repository)}`;
  try {
    const answer = await place.client.request({
      method: "POST",
      path: `/v2/${place.repository}/blobs/uploads/?${query}`,
      what: `start an upload to ${place.client.registry}/${place.repository}`,
      scopes: place.scopes,
      body: "",
      signal,
      accept: [201, 202],
    });
    if (answer.status === 202) return await openedSession(answer, place);
    await drain(answer);
    return "present";
  } catch (error) {
    // What keeps us out altogether is told by the requests that follow; only the form of this one may be refused.
    if (error instanceof RegistryError && [400, 404, 405].includes(error.status)) return "refused";
    throw error;
  }
}
