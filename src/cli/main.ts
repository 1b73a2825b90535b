/** The entry of the program: runs the command, and makes sure that whatever goes wrong is said once and clearly. */
import { flush, run, settings } from "@oclif/core";
import { exitCodes, systemCode } from "../errors.ts";
import { reportError } from "./error-report.ts";

/** Time for what is still being written after an interruption, in milliseconds. */
const lingerMs = 500;

/** Runs a command line. `root` is the URL of the file that started the program (oclif finds package.json by it). */
export async function main(argv: readonly string[], root: string): Promise<void> {
  // The compiled commands are what runs; TypeScript sources beside them are of no interest to oclif.
  settings.enableAutoTranspile = false;
  // Before oclif's own, which lets everything but a broken pipe crash the program.
  process.stdout.prependListener("error", onOutputError);
  process.stderr.prependListener("error", onOutputError);
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
  // A name that the system looks up cannot be called off, and even process.exit() waits for it. All has been said by
  // now, and shells take the signal for the same code.
  if (process.exitCode === exitCodes.interrupted)
    setTimeout(() => process.kill(process.pid, "SIGINT"), lingerMs).unref();
}

/** `mirror ls … | head`: whoever reads has enough, which is no failure. A result that cannot be written is one. */
function onOutputError(error: Error): void {
  const code = systemCode(error);
  if (code === "EPIPE") process.exit(process.exitCode ?? 0);
  const state = code === "ENOSPC" ? "no space left on the disk" : (code ?? error.message);
  // Nobody may be able to read this either.
  process.stderr.removeAllListeners("error").on("error", () => undefined);
  process.stderr.write(
    `Error: Cannot write the output: ${state}\n  hint: make room, or write it elsewhere\n`,
  );
  process.exit(exitCodes.failed);
}
