/** Standard input as bytes, read into two buffers in turn: a stream of Node's makes a new one for each 64 KiB. */
import { fstatSync } from "node:fs";
import { open } from "node:fs/promises";
import { Socket } from "node:net";
import { isatty } from "node:tty";
import type { ByteStream } from "../content/content.ts";
import { AppError } from "../errors.ts";

const descriptor = 0;
/** One read takes up to so many bytes. */
const bufferBytes = 512 * 1024;

/** The bytes of standard input; to be called once. Throws USAGE if it is a terminal. */
export function standardInput(): ByteStream {
  if (isatty(descriptor)) {
    throw new AppError("USAGE", "Cannot read a bundle from a terminal", {
      hint: "pipe it in, or name a file",
    });
  }
  const found = fstatSync(descriptor);
  // The null device is neither file nor pipe; it ends at once, like an empty file.
  return found.isFIFO() || found.isSocket() ? new PipeInput() : fileInput();
}

/** A file, which is read from where it stands. */
async function* fileInput(): AsyncGenerator<Uint8Array, void> {
  await using file = await open("/dev/stdin", "r");
  const buffers = [Buffer.allocUnsafeSlow(bufferBytes), Buffer.allocUnsafeSlow(bufferBytes)] as const;
  for (let turn: 0 | 1 = 0; ; turn = turn === 0 ? 1 : 0) {
    const { bytesRead } = await file.read(buffers[turn], 0, bufferBytes, null);
    if (bytesRead === 0) return;
    yield buffers[turn].subarray(0, bytesRead);
  }
}

/** A pipe. Whoever writes waits while a chunk is in use. Ending it does not wait for what may never come. */
class PipeInput implements AsyncIterableIterator<Uint8Array> {
  readonly #socket: Socket;
  /** The buffer that is read into, and the one before. */
  #buffers: [Buffer, Buffer] = [Buffer.allocUnsafeSlow(bufferBytes), Buffer.allocUnsafeSlow(bufferBytes)];
  #chunk: Uint8Array | undefined;
  #ended = false;
  #failure: Error | undefined;
  #wake: () => void = () => undefined;

  constructor() {
    this.#socket = new Socket({
      fd: descriptor,
      readable: true,
      writable: false,
      onread: {
        buffer: () => {
          const [current, spare] = this.#buffers;
          this.#buffers = [spare, current];
          return spare;
        },
        callback: (length, buffer) => {
          this.#chunk = buffer.subarray(0, length);
          this.#wake();
          // Reading goes on when the next chunk is asked for.
          return false;
        },
      },
    });
    const end = (): void => {
      this.#ended = true;
      this.#wake();
    };
    this.#socket.on("end", end);
    this.#socket.on("close", end);
    this.#socket.on("error", (error) => {
      this.#failure = error;
      end();
    });
    // There is one standard input: whoever ends it (Ctrl-C does) means this one, and Node cannot open it twice.
    Object.defineProperty(process, "stdin", { value: this.#socket, configurable: true });
  }

  async next(): Promise<IteratorResult<Uint8Array, undefined>> {
    this.#socket.resume();
    while (this.#chunk === undefined) {
      if (this.#failure !== undefined) throw this.#failure;
      if (this.#ended) return { done: true, value: undefined };
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    const value = this.#chunk;
    this.#chunk = undefined;
    return { done: false, value };
  }

  async return(): Promise<IteratorResult<Uint8Array, undefined>> {
    this.#ended = true;
    this.#socket.destroy();
    this.#wake();
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
