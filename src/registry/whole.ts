/** Small answers as a whole: what breaks off in the middle is asked for again. */
import { backoffMs, maxAttempts } from "../content/retry.ts";
import { isAppError } from "../errors.ts";
import type { RegistryClient } from "./client.ts";
import { type Answer, readBytes } from "./http.ts";
import type { RegistryRequest } from "./request.ts";

export interface WholeAnswer {
  readonly answer: Answer;
  /** The body; that of `answer` is used up. */
  readonly bytes: Buffer;
}

/** Sends a request and reads its answer into memory. Throws as the client does, and REGISTRY over `limit` bytes. */
export async function requestWhole(
  client: RegistryClient,
  wanted: RegistryRequest,
  limit: number,
): Promise<WholeAnswer> {
  for (let attempt = 1; ; attempt += 1) {
    const answer = await client.request(wanted);
    try {
      return { answer, bytes: await readBytes(answer, limit, "fail", wanted.what) };
    } catch (error) {
      if (!isAppError(error, "NETWORK") || attempt >= maxAttempts || wanted.signal?.aborted === true)
        throw error;
      const delayMs = backoffMs(attempt, client.clock);
      client.retrying(wanted.what, attempt, delayMs, error);
      await client.clock.sleep(delayMs, wanted.signal);
    }
  }
}
