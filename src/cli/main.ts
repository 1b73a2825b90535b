/** The entry of the program: runs the command, and makes sure that whatever goes wrong is said once and clearly. */
import { flush, run, settings } from "@oclif/core";
import { reportError } from "./error-report.ts";

/** Runs a command line. `root` is the URL of the file that started the program (oclif finds package.json by it). */
export async function main(argv: readonly string[], root: string): Promise<void> {
  // The compiled commands are what runs; TypeScript sources beside them are of no interest to oclif.
  settings.enableAutoTranspile = false;
  process.stdout.on("error", onBrokenPipe);
  process.stderr.on("error", onBrokenPipe);
  try {
    await run([...argv], root);
    await flush();
  } catch (error) {
    // Commands report their own errors; these come from before a command was found.
    const report = reportError(error, process.env);
    if (report.text !== "") process.stderr.write(`${report.text}\n`);
    process.exitCode = report.exitCode;
  }
}

/** `mirror ls … | head`: whoever reads has enough, which is no failure. */
function onBrokenPipe(error: Error): void {
  if ("code" in error && error.code === "EPIPE") process.exit(process.exitCode ?? 0);
  throw error;
}
