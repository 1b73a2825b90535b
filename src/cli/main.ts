/** The entry of the program: runs the command, and makes sure that whatever goes wrong is said once and clearly. */
import { flush, run, settings } from "@oclif/core";
import { exitCodes, systemCode } from "../errors.ts";
import { reportError } from "./error-report.ts";
import { endNow } from "./interruption.ts";

/** Time for what is still being written after an interruption, in milliseconds. */
const lingerMs = 500;

/** Runs a command line. `root` is the URL of the file that started the program (oclif finds package.json by it). */
export async function main(argv: readonly string[], root: string): Promise<void> {
  // The compiled commands are what runs; TypeScript sources beside them are of no interest to oclif.
  settings.enableAutoTranspile = false;
  // Before oclif's own, which lets everything but a broken pipe crash the program.
  process.stdout.prependListener("error", onOutputError);
  // Messages that nobody can read any more (a terminal that was closed, a full log) are no reason to end a run.
  process.stderr.on("error", () => undefined);
  try {
    await run([...argv], root);
    await flush();
  } catch (error) {
    // Commands report their own errors; these come from before a command was found.
    const report = reportError(error, process.env);
    if (argv.includes("--json")) process.stdout.write(`${JSON.stringify(report.json, undefined, 2)}\n`);
    else if (report.text !== "") process.stderr.write(`${report.text}\n`);
    process.exitCode = report.exitCode;
  }
  // All has been said by now.
  if (process.exitCode === exitCodes.interrupted) setTimeout(endNow, lingerMs).unref();
}

/** `mirror ls … | head`: whoever reads has enough, which is no failure. A result that cannot be written is one. */
function onOutputError(error: Error): void {
  const code = systemCode(error);
  if (code === "EPIPE") process.exit(process.exitCode ?? 0);
  const state = code === "ENOSPC" ? "no space left on the disk" : (code ?? error.message);
  process.stderr.write(
    `Error: Cannot write the output: ${state}\n  hint: make room, or write it elsewhere\n`,
  );
  process.exit(exitCodes.failed);
}
