/** A blob taken over from another repository of the same registry (distribution-spec "Mounting a blob"). */
import { isAppError } from "../../errors.ts";
import type { Digest } from "../../oci/digest.ts";
import { RegistryError } from "../errors.ts";
import { type Answer, drain } from "../http.ts";
import { pullScope } from "../scopes.ts";
import { hasBlob } from "./presence.ts";
import { openedSession } from "./session.ts";
import { type UploadPlace, uploadKey } from "./upload-place.ts";

/**
 * True if the blob is there now. False if the registry would not: a plain upload works then, and goes on in the session
 * that was opened instead, if there is one. Throws NETWORK where there is no answer, and what keeps us from waiting.
 */
export async function mountBlob(
  place: UploadPlace,
  digest: Digest,
  from: string,
  signal?: AbortSignal,
): Promise<boolean> {
  const { uploads } = place.client;
  if (!uploads.mountsFrom(from)) return false;
  try {
    const answer = await ask(place, digest, from, signal);
    uploads.mounted(from, true);
    if (answer.status === 202) {
      uploads.keep(uploadKey(place, digest), await openedSession(answer, place));
      return false;
    }
    await drain(answer);
    // Only 201 says that it is mounted.
    return answer.status === 201 || (await hasBlob(place, digest, signal));
  } catch (error) {
    // Some registries answer a foreign or unknown source with 401, 403, 404 or 5xx: a plain upload still works.
    if (!(error instanceof RegistryError) && !isAppError(error, "AUTH", "DENIED")) throw error;
    uploads.mounted(from, false);
    return false;
  }
}

/** Once only, unless it is the line that broke or our haste that was refused: a plain upload is no worse. */
async function ask(place: UploadPlace, digest: Digest, from: string, signal?: AbortSignal): Promise<Answer> {
  const { client, repository, scopes } = place;
  const request = {
    method: "POST",
    path: `/v2/${repository}/blobs/uploads/?mount=${encodeURIComponent(digest)}&from=${encodeURIComponent(from)}`,
    what: `mount ${digest} from ${from} into ${client.registry}/${repository}`,
    // The token for this is one of its own: a source that is refused must not spoil that of the upload.
    scopes: [...scopes, pullScope(from)],
    body: "",
    signal,
    accept: [200, 201, 202, 204],
  } as const;
  try {
    return await client.request({ ...request, retry: false });
  } catch (error) {
    const limited = error instanceof RegistryError && error.limited;
    if (signal?.aborted === true || !(limited || isAppError(error, "NETWORK"))) throw error;
    return await client.request(request);
  }
}
