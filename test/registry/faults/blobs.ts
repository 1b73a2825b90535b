/** Faults of blobs on their way out (rows 30 to 38 of the fault list). */
import type { Fault } from "../fault.ts";
import { lengthOf } from "../http.ts";
import { blobs, flipped, isContent, registryBlobs } from "./shared.ts";

export const blobFaults = {
  /** Cuts the connection after `bytes` of a blob. Answers that are not longer than that pass. */
  "drop-body-after": ({ bytes = 1000 }: { readonly bytes?: number } = {}): Fault => ({
    methods: ["GET"],
    path: blobs,
    transform: (reply) =>
      isContent(reply) && lengthOf(reply.body) > bytes ? { ...reply, cutAfter: bytes } : undefined,
  }),

  /** Answers a range with 200 and the whole blob. */
  "ignore-range": (): Fault => ({
    methods: ["GET"],
    path: blobs,
    intercept: (request) => {
      if (request.headers.range === undefined) return undefined;
      delete request.headers.range;
      return "altered";
    },
  }),

  /** Flips one bit of a blob, in the middle of what is sent unless `at` (bytes from there) says where. */
  "corrupt-blob": ({ at }: { readonly at?: number } = {}): Fault => ({
    methods: ["GET"],
    path: blobs,
    transform: (reply) => (isContent(reply) ? flipped(reply, at) : undefined),
  }),

  /** Sends readers of blobs to a signed URL on the storage origin, or to `location`. */
  "redirect-blobs": ({
    status = 307,
    location,
  }: {
    readonly status?: number;
    readonly location?: string;
  } = {}): Fault => ({
    methods: ["GET", "HEAD"],
    path: registryBlobs,
    intercept: (request, { content, storageUrl }) => {
      const [, repository = "", digest = ""] = registryBlobs.exec(request.path) ?? [];
      // A registry looks first and redirects then.
      if (content.findBlob(repository, digest) === undefined) return undefined;
      return { status, headers: { location: location ?? storageUrl(repository, digest) } };
    },
  }),

  /** Sends `bytes` of a blob without saying how many there should be, and hangs up: a short body that looks whole. */
  "unframed-body": ({ bytes = 1000 }: { readonly bytes?: number } = {}): Fault => ({
    methods: ["GET"],
    path: blobs,
    transform: (reply) => {
      if (reply.status !== 200) return undefined;
      const sent = Buffer.concat(reply.body ?? []).subarray(0, bytes);
      const head = "HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\nconnection: close\r\n\r\n";
      return { ...reply, raw: (socket) => socket.end(Buffer.concat([Buffer.from(head), sent])) };
    },
  }),
} as const;
