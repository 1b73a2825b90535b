/** Faults of the line: how bytes are framed, and how slowly they come (rows 34 and 37 of the fault list). */
import type { Socket } from "node:net";
import type { Fault } from "../fault.ts";
import type { Reply } from "../http.ts";
import { blobs, isContent } from "./shared.ts";

const head = (...lines: readonly string[]): string => ["HTTP/1.1 200 OK", ...lines, "", ""].join("\r\n");

/** The first 200 with content, written to the bare socket instead; ranges pass, so that a retry can go on. */
function rewritten(write: (socket: Socket, bytes: Buffer) => void): Fault {
  return {
    methods: ["GET"],
    path: blobs,
    transform: (reply: Reply) => {
      if (reply.status !== 200 || !isContent(reply)) return undefined;
      const bytes = Buffer.concat(reply.body ?? []);
      return { ...reply, raw: (socket) => write(socket, bytes) };
    },
  };
}

export const networkFaults = {
  /** Hangs up `missing` bytes before the end that its length promises. */
  "length-too-large": ({ missing = 10 }: { readonly missing?: number } = {}): Fault =>
    rewritten((socket, bytes) => {
      const sent = bytes.subarray(0, -missing);
      socket.end(Buffer.concat([Buffer.from(head(`content-length: ${bytes.length}`)), sent]));
    }),

  /** Has a length and a transfer encoding: what smuggles answers. */
  "length-and-chunks": (): Fault =>
    rewritten((socket, bytes) => {
      const chunk = Buffer.from(`${bytes.length.toString(16)}\r\n`);
      const text = head(`content-length: ${bytes.length}`, "transfer-encoding: chunked");
      socket.end(Buffer.concat([Buffer.from(text), chunk, bytes, Buffer.from("\r\n0\r\n\r\n")]));
    }),

  /** Sends chunks and hangs up without the last one. */
  "chunks-without-end": (): Fault =>
    rewritten((socket, bytes) => {
      const chunk = Buffer.from(`${bytes.length.toString(16)}\r\n`);
      socket.end(
        Buffer.concat([Buffer.from(head("transfer-encoding: chunked")), chunk, bytes.subarray(0, -1)]),
      );
    }),

  /** Sends `extra` bytes behind the content. */
  "extra-bytes": ({ extra = 5 }: { readonly extra?: number } = {}): Fault =>
    rewritten((socket, bytes) => {
      const text = head(`content-length: ${bytes.length}`);
      socket.write(Buffer.concat([Buffer.from(text), bytes, Buffer.alloc(extra, "x")]));
    }),

  /** Sends `first` bytes of a blob at once and the rest byte by byte, one each `everyMs`. */
  trickle: ({
    first = 0,
    everyMs = 10,
  }: {
    readonly first?: number;
    readonly everyMs?: number;
  } = {}): Fault =>
    rewritten((socket, bytes) => {
      socket.write(
        Buffer.concat([Buffer.from(head(`content-length: ${bytes.length}`)), bytes.subarray(0, first)]),
      );
      let at = first;
      const timer = setInterval(() => {
        socket.write(bytes.subarray(at, at + 1));
        at += 1;
      }, everyMs);
      socket.once("close", () => clearInterval(timer));
    }),

  /** Sends `first` bytes of a blob and then nothing more. */
  stall: ({ first = 1000 }: { readonly first?: number } = {}): Fault =>
    rewritten((socket, bytes) => {
      socket.write(
        Buffer.concat([Buffer.from(head(`content-length: ${bytes.length}`)), bytes.subarray(0, first)]),
      );
    }),
} as const;
