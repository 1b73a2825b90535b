/** Standard output as the place where a bundle goes. */
import { fstatSync, write } from "node:fs";
import { isatty } from "node:tty";
import { promisify } from "node:util";
import { diskError } from "../bundle/disk.ts";
import type { ByteSink } from "../bundle/pipe/pipe-writer.ts";
import { AppError, systemCode } from "../errors.ts";

const descriptor = 1;
const writeFile = promisify(write);

/** Standard output for a bundle. Throws USAGE if it is a terminal. From here on a write that fails is an error of its own. */
export function standardOutput(): ByteSink {
  if (isatty(descriptor)) {
    throw new AppError("USAGE", "Cannot write the bundle to a terminal", {
      hint: "write it to a file with --to bundle.tar, or pipe it: mirror pull ... --to - | ssh HOST mirror push - ...",
    });
  }
  if (fstatSync(descriptor).isFile()) return { write: toFile };
  return new PipeOutput();
}

/** A pipe. Once it has failed, Node keeps what is written to it for ever. */
class PipeOutput implements ByteSink {
  #failure: unknown;
  #reject: (error: unknown) => void = () => undefined;

  constructor() {
    // Others who listen end the program without a word.
    process.stdout.removeAllListeners("error");
    process.stdout.on("error", (error) => {
      this.#failure = error;
      this.#reject(error);
    });
  }

  async write(bytes: Uint8Array): Promise<void> {
    if (this.#failure !== undefined) fail(this.#failure);
    await new Promise<void>((resolve, reject) => {
      this.#reject = reject;
      process.stdout.write(bytes, (error) => {
        if (error === null || error === undefined) resolve();
        else reject(error);
      });
    }).catch(fail);
  }
}

/** Node would write to a file while everything else waits. */
async function toFile(bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.byteLength; ) {
    const { bytesWritten } = await writeFile(descriptor, bytes, at).catch(fail);
    at += bytesWritten;
  }
}

function fail(error: unknown): never {
  if (systemCode(error) !== "EPIPE") throw diskError("write to standard output", error);
  throw new AppError("DISK", "Cannot write to standard output: the program that reads it has ended", {
    hint: "look at what it says, then run the same command again",
    cause: error,
  });
}
