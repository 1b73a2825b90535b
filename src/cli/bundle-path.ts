/** The output of a pull: a file, for now. */
import { AppError } from "../errors.ts";

/** The path of a bundle to write. Throws USAGE for what this version cannot write to. */
export function bundlePath(text: string): string {
  if (text === "-")
    throw new AppError(
      "USAGE",
      "Cannot write the bundle to standard output: this version writes files only",
      { hint: "name a file: --to bundle.tar" },
    );
  if (text === "" || text.endsWith("/"))
    throw new AppError("USAGE", `Cannot write the bundle to ${JSON.stringify(text)}: that is a folder`, {
      hint: `name a file: --to ${text}bundle.tar`,
    });
  return text;
}
