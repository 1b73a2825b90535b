/** What the uploads to one registry leave for later runs: sessions that were cut off, and which blob went where. */
import { join } from "node:path";
import type { UploadManners } from "./manners.ts";
import { SessionNotes } from "./session-notes.ts";
import { StateFolder } from "./state-folder.ts";
import { StoredNotes } from "./stored-notes.ts";

/** The notes of one registry's client. */
export interface UploadNotes {
  /** Undefined where nothing may be written: a session is taken over by giving its file another name. */
  readonly sessions: SessionNotes | undefined;
  readonly stored: StoredNotes;
}

/** Where notes are kept; nowhere without a folder. */
export interface NotesPlace {
  readonly stateFolder?: string | undefined;
  /** They are read, and none is written. */
  readonly stateIsReadOnly?: boolean | undefined;
}

/** Whose notes they are. */
export interface NotesKeeper {
  readonly registry: string;
  readonly manners: UploadManners;
  warn(message: string, hint?: string): void;
}

/** The notes of a client; undefined if there is no folder for them: then nothing is kept. */
export function notesIn(
  { stateFolder: folder, stateIsReadOnly: isReadOnly = false }: NotesPlace,
  client: NotesKeeper,
): UploadNotes | undefined {
  if (folder === undefined) return undefined;
  const { registry } = client;
  const onFailure = (path: string, code: string): void => {
    if (!client.manners.once("state")) return;
    client.warn(
      `uploads to ${registry} cannot be noted in ${path} (${code}): one that is interrupted begins anew`,
      "set XDG_STATE_HOME to a folder that can be written",
    );
  };
  return {
    sessions: isReadOnly
      ? undefined
      : new SessionNotes(new StateFolder(join(folder, "uploads"), onFailure), registry),
    stored: new StoredNotes(new StateFolder(join(folder, "stored"), onFailure), registry, { isReadOnly }),
  };
}
