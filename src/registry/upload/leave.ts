/** What becomes of the session of an upload that ends without its blob: kept for the next run, or cancelled. */
import { isAppError } from "../../errors.ts";
import { cancelSession, endSession, type SessionStatus, statusOf } from "./session.ts";
import type { UploadRecord } from "./session-notes.ts";
import type { UploadSession } from "./state.ts";
import type { UploadPlace } from "./upload-place.ts";

/** A session that holds less than this, and was never acknowledged any, is not worth keeping. Bytes. */
const worthKeepingBytes = 1024 * 1024;

const unsafe: SessionStatus = { at: undefined, speaks: true };

/** An upload that ends in the middle. */
export interface LeftUpload {
  readonly session: UploadSession;
  /** Where it is noted; undefined if nothing is. */
  readonly record: UploadRecord | undefined;
  /** Bytes that were sent in the session beyond its offset; undefined if nobody can go on with it. */
  readonly sent: number | undefined;
}

/**
 * Looks after a session in the background, while the client has time to: a second (`UploadDesk.settled`). What the
 * registry has acknowledged stays noted if it does not answer within that; what it says that it does not have is cancelled.
 */
export function leaveSession(place: UploadPlace, { session, record, sent }: LeftUpload, size: number): void {
  const { uploads } = place.client;
  const acknowledged = session.offset > 0;
  if (record === undefined || sent === undefined || (!acknowledged && sent < worthKeepingBytes)) {
    cancelSession(place, session);
    uploads.cancelling(record?.drop() ?? Promise.resolve());
    return;
  }
  const look = async (): Promise<void> => {
    const status = await statusOf(place, session, { retry: false }).catch((error: unknown) => {
      // No answer, or one that is not to be followed.
      return isAppError(error, "REGISTRY") ? unsafe : undefined;
    });
    const least = acknowledged ? session.offset : worthKeepingBytes;
    const at = status?.at;
    if (at !== undefined && at.offset >= least && at.offset <= size) return await record.note(at);
    const unanswered = status === undefined || status.refusal?.passing === true;
    if (acknowledged && unanswered) return;
    await record.drop();
    await endSession(place, session);
  };
  uploads.cancelling(look().catch(() => undefined));
}
