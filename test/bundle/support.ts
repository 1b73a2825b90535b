/** What the tests of the metadata files share. */
import { readMirrorFile } from "../../src/bundle/metadata.ts";
import { isAppError } from "../../src/errors.ts";

/** What comes of reading a `mirror.json`: `read`, or the code of the error. */
export function codeOf(bytes: Buffer): string {
  try {
    readMirrorFile(bytes);
    return "read";
  } catch (error) {
    return isAppError(error) ? error.code : `not ours: ${String(error)}`;
  }
}
