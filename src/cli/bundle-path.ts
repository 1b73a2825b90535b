/** The output of a pull: a file, or standard output. */
import { AppError } from "../errors.ts";

/** What stands for standard input and output in the place of a file. */
export const pipeName = "-";

/** The path of a bundle to write. Throws USAGE for what this version cannot write to. */
export function bundlePath(text: string): string {
  if (text === "" || text.endsWith("/"))
    throw new AppError("USAGE", `Cannot write the bundle to ${JSON.stringify(text)}: that is a folder`, {
      hint: `name a file: --to ${text}bundle.tar`,
    });
  return text;
}
