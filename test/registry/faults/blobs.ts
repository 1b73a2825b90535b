/** Faults of blobs on their way out (rows 30 to 38 of the fault list). */
import { brotliCompressSync, deflateSync, gzipSync, zstdCompressSync } from "node:zlib";
import type { Fault } from "../fault.ts";
import { lengthOf, type Reply, type ReplyHeaders, replyHeader } from "../http.ts";
import { blobs, flipped, isContent, registryBlobs } from "./shared.ts";

const storageBlobs = /^\/storage\/.+\/blobs\/[a-z0-9]+:[0-9a-f]+$/;

const encoders = {
  gzip: gzipSync,
  "x-gzip": gzipSync,
  deflate: deflateSync,
  br: brotliCompressSync,
  zstd: zstdCompressSync,
} as const;

/** How an answer to a range is wrong. */
export type RangeOddity = "start" | "total" | "unknown" | "none" | "length" | "multipart" | "shorter";

function oddRange(reply: Reply, kind: RangeOddity, bytes: number): Reply {
  const [, start, last, total] =
    /^bytes (\d+)-(\d+)\/(\d+)$/.exec(replyHeader(reply, "content-range") ?? "") ?? [];
  const [from, to, size] = [Number(start), Number(last), Number(total)];
  const body = Buffer.concat(reply.body ?? []);
  const answer = (range: string, more: ReplyHeaders = {}, sent: Buffer = body): Reply => ({
    ...reply,
    headers: { ...reply.headers, "content-range": range, ...more },
    body: [sent],
  });
  switch (kind) {
    case "start":
      return answer(`bytes ${from + 1}-${to}/${size}`);
    case "total":
      return answer(`bytes ${from}-${to}/${size + 1}`);
    case "unknown":
      return answer(`bytes */${size}`);
    case "none": {
      const { "content-range": _range, ...headers } = reply.headers ?? {};
      return { ...reply, headers };
    }
    case "length":
      return answer(`bytes ${from}-${to}/${size}`, {}, body.subarray(1));
    case "multipart": {
      const head = `--b\r\ncontent-range: bytes ${from}-${to}/${size}\r\n\r\n`;
      const sent = Buffer.concat([Buffer.from(head), body, Buffer.from("\r\n--b--\r\n")]);
      return answer(
        `bytes ${from}-${to}/${size}`,
        { "content-type": "multipart/byteranges; boundary=b", "transfer-encoding": "chunked" },
        sent,
      );
    }
    case "shorter": {
      const sent = body.subarray(0, bytes);
      return answer(`bytes ${from}-${from + sent.length - 1}/${size}`, {}, sent);
    }
  }
}

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

  /** Cuts the connection after `min` to `max` bytes of a blob, by chance but the same every time for one `seed`. */
  "drop-body-at-random": ({
    min = 20_000,
    max = 200_000,
    seed = 1,
  }: {
    readonly min?: number;
    readonly max?: number;
    readonly seed?: number;
  } = {}): Fault => {
    let state = seed;
    return {
      methods: ["GET"],
      path: blobs,
      transform: (reply) => {
        // Lehmer's generator.
        state = (state * 48_271) % 2_147_483_647;
        const bytes = min + (state % (max - min));
        return isContent(reply) && lengthOf(reply.body) > bytes ? { ...reply, cutAfter: bytes } : undefined;
      },
    };
  },

  /**
   * Answers a range with a 206 that is not the one asked for: another `start` or `total`, an `unknown` range, `none` at
   * all, a `length` that does not fit, `multipart/byteranges`, or one that is `shorter` (`bytes`), which is allowed.
   */
  "odd-range": ({
    kind = "start",
    bytes = 1000,
  }: {
    readonly kind?: RangeOddity;
    readonly bytes?: number;
  } = {}): Fault => ({
    methods: ["GET"],
    path: blobs,
    transform: (reply) => (reply.status === 206 ? oddRange(reply, kind, bytes) : undefined),
  }),

  /**
   * Answers ranges with 416, or only those without an end (`only: "open"`, as the registry of go-containerregistry
   * does). As distribution 2.8 does, it promises a body and never sends it.
   */
  "refuse-ranges": ({ only }: { readonly only?: "open" } = {}): Fault => ({
    methods: ["GET"],
    path: blobs,
    intercept: (request) => {
      const { range } = request.headers;
      if (range === undefined || (only === "open" && !range.endsWith("-"))) return undefined;
      return { status: 416, headers: { "content-length": "1000000" } };
    },
  }),

  /**
   * Says `Content-Encoding: coding` (gzip if left out) of a blob, and does encode it if `really` is set. Without
   * `length`, the answer is chunked. `body` is sent in the place of the encoded blob.
   */
  "encode-blob": ({
    coding = "gzip",
    really = false,
    length = false,
    body,
  }: {
    readonly coding?: keyof typeof encoders;
    readonly really?: boolean;
    readonly length?: boolean;
    readonly body?: Uint8Array;
  } = {}): Fault => ({
    methods: ["GET"],
    path: blobs,
    intercept: (request) => {
      if (!really || request.headers.range === undefined) return undefined;
      delete request.headers.range;
      return "altered";
    },
    transform: (reply) => {
      if (!isContent(reply)) return undefined;
      const plain = Buffer.concat(reply.body ?? []);
      const framing: ReplyHeaders = length ? {} : { "transfer-encoding": "chunked" };
      const headers = { ...reply.headers, ...framing, "content-encoding": coding };
      return { ...reply, headers, body: [body ?? (really ? encoders[coding](plain) : plain)] };
    },
  }),

  /** The storage behind redirects says that the signature is over, as S3 does. */
  "expired-signature": (): Fault => ({
    path: storageBlobs,
    intercept: () => ({
      status: 403,
      headers: { "content-type": "application/xml" },
      body: [
        Buffer.from(
          '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>',
        ),
      ],
    }),
  }),

  /** Storage behind redirects takes only what its URL was signed for: GET. */
  "signed-for-get": ({ status = 403 }: { readonly status?: number } = {}): Fault => ({
    methods: ["HEAD"],
    path: storageBlobs,
    intercept: () => ({ status }),
  }),

  /** Answers with a login page and 200; without `length` it is chunked. */
  "web-page": ({ length = true }: { readonly length?: boolean } = {}): Fault => ({
    methods: ["GET"],
    path: blobs,
    intercept: () => ({
      status: 200,
      headers: {
        "content-type": "text/html; charset=utf-8",
        ...(length ? {} : { "transfer-encoding": "chunked" }),
      },
      body: [Buffer.from("<!DOCTYPE html><html><body>log in</body></html>")],
    }),
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
