/** Faults of uploads (rows 39 to 47 of the fault list). */
import { errorReply } from "../errors.ts";
import type { Fault, Interception } from "../fault.ts";
import { header, readBody, replyHeader } from "../http.ts";
import { cutAfter, everything, iterated, session, tooLarge, uploads } from "./shared.ts";

export const uploadFaults = {
  /** Cuts the connection after `bytes` of an upload's body have been read; they stay in the session. */
  "drop-upload-after": ({ bytes = 1000 }: { readonly bytes?: number } = {}): Fault => ({
    methods: ["PATCH", "PUT"],
    path: session,
    intercept: (request) => {
      request.body = cutAfter(request.body, bytes);
      return "altered";
    },
  }),

  /** Takes `bytes` of a body that is larger, calls `onStall`, and neither reads on nor answers; what it has taken stays in the session. */
  "stall-upload": ({
    bytes = 0,
    onStall = () => undefined,
  }: {
    readonly bytes?: number;
    readonly onStall?: () => void;
  } = {}): Fault => ({
    methods: ["PATCH", "PUT"],
    path: session,
    intercept: (request) => {
      if (Number(header(request, "content-length") ?? 0) <= bytes) return undefined;
      request.body = stalledAfter(request.body, bytes, onStall);
      return "altered";
    },
  }),

  /** Gives paths instead of URLs. */
  "relative-location": (): Fault => ({
    path: everything,
    transform: (reply) => {
      const location = replyHeader(reply, "location");
      if (location === undefined || location.startsWith("/")) return undefined;
      return { ...reply, headers: { ...reply.headers, location: location.replace(/^[a-z]+:\/\/[^/]+/, "") } };
    },
  }),

  /** Opens a session instead of mounting, or answers a mount with `status`. */
  "refuse-mount": ({ status = 202 }: { readonly status?: number } = {}): Fault => ({
    methods: ["POST"],
    path: uploads,
    intercept: ({ query }) => {
      if (!query.has("mount")) return undefined;
      if (status !== 202) return { ...errorReply([{ code: "DENIED" }]), status };
      query.delete("mount");
      return "altered";
    },
  }),

  /** Takes no PATCH (405 if left out, or 416); with `ranged` only none of a part, so that Docker gets through. */
  "reject-patch": ({
    status = 405,
    ranged = false,
  }: {
    readonly status?: 405 | 416;
    readonly ranged?: boolean;
  } = {}): Fault => ({
    methods: ["PATCH"],
    path: session,
    intercept: (request) =>
      ranged && header(request, "content-range") === undefined
        ? undefined
        : errorReply([{ code: status === 405 ? "UNSUPPORTED" : "RANGE_INVALID" }]),
  }),

  /** A proxy that takes no request body over `bytes` (1 MiB if left out), with its HTML page. */
  "body-limit": ({ bytes = 1024 * 1024 }: { readonly bytes?: number } = {}): Fault => ({
    methods: ["POST", "PATCH", "PUT"],
    path: everything,
    intercept: async (request): Promise<Interception> => {
      const length = header(request, "content-length");
      if (length !== undefined) return Number(length) > bytes ? tooLarge : undefined;
      const body = await readBody(request, bytes);
      if (body === undefined) return tooLarge;
      request.body = iterated(body);
      return undefined;
    },
  }),

  /** Loses open uploads, as a restart or a second replica does. */
  "forget-uploads": (): Fault => ({
    methods: ["GET", "PATCH", "PUT"],
    path: session,
    intercept: (request, context) => {
      context.uploads.end(session.exec(request.path)?.[1] ?? "");
      return errorReply([{ code: "BLOB_UPLOAD_UNKNOWN" }]);
    },
  }),

  /** Changes the Location of every answer to an upload; what it becomes undefined for is left out. */
  "other-location": ({
    change = () => undefined,
    keepId = false,
  }: {
    readonly change?: (location: string) => string | undefined;
    /** Without a Location the header Docker-Upload-UUID stays. */
    readonly keepId?: boolean;
  } = {}): Fault => ({
    methods: ["GET", "PATCH", "POST"],
    path: uploads,
    transform: (reply) => {
      const location = replyHeader(reply, "location");
      if (location === undefined || reply.status >= 300) return undefined;
      const { location: _location, "docker-upload-uuid": id, ...headers } = reply.headers ?? {};
      const changed = change(location);
      const kept = keepId && id !== undefined ? { "docker-upload-uuid": id } : {};
      return { ...reply, headers: { ...headers, ...kept, ...(changed ? { location: changed } : {}) } };
    },
  }),

  /** Answers a chunk that it has taken with another status or Range (ECR: 201, a Range that is stuck). */
  "odd-chunk-answer": ({
    status = 201,
    range,
  }: {
    readonly status?: number;
    /** Undefined: as it is; "": none. */
    readonly range?: string;
  } = {}): Fault => ({
    methods: ["PATCH"],
    path: session,
    transform: (reply) => {
      if (reply.status !== 202) return undefined;
      const { range: own, ...headers } = reply.headers ?? {};
      const told = range ?? own;
      return { ...reply, status, headers: { ...headers, ...(told ? { range: told } : {}) } };
    },
  }),

  /** Answers a blob that it has stored with another status; with `lost` it has not stored it. */
  "odd-put-answer": ({
    status = 202,
    lost = false,
  }: {
    readonly status?: number;
    readonly lost?: boolean;
  } = {}): Fault => ({
    methods: ["PUT"],
    path: session,
    intercept: async (request, context) => {
      if (!lost) return undefined;
      await readBody(request);
      context.uploads.end(session.exec(request.path)?.[1] ?? "");
      return { status };
    },
    transform: (reply) => (reply.status === 201 ? { ...reply, status } : undefined),
  }),

  /** Takes the body and then answers with `status`, or cuts the connection; what was stored stays. */
  "lost-answer": ({ status }: { readonly status?: number } = {}): Fault => ({
    methods: ["PATCH", "PUT"],
    path: session,
    transform: (reply) =>
      status === undefined ? { ...reply, raw: (socket) => socket.destroy() } : { status },
  }),

  /** Flips a bit of what arrives. */
  "damage-upload": (): Fault => ({
    methods: ["PATCH", "PUT"],
    path: session,
    intercept: (request) => {
      request.body = flippedFirst(request.body);
      return "altered";
    },
  }),

  /** Says that a blob is mounted, and has it not. */
  "lying-mount": (): Fault => ({
    methods: ["POST"],
    path: uploads,
    intercept: ({ query, base, path }) =>
      query.has("mount")
        ? {
            status: 201,
            headers: { location: `${base}${path.replace(/uploads\/$/, "")}${query.get("mount")}` },
          }
        : undefined,
  }),

  /**
   * Takes `bytes` of a chunk and refuses it with 416, as after a loss; tells how far it got in `Location` and `Range`
   * unless it is `bare`.
   */
  "misplaced-chunk": ({
    bytes = 1000,
    bare = false,
  }: {
    readonly bytes?: number;
    readonly bare?: boolean;
  } = {}): Fault => ({
    methods: ["PATCH", "PUT"],
    path: session,
    intercept: async (request, context): Promise<Interception> => {
      const id = session.exec(request.path)?.[1] ?? "";
      const all = (await readBody(request)) ?? Buffer.alloc(0);
      const told = context.uploads.append(id, all.subarray(0, bytes), request.base);
      return errorReply([{ code: "RANGE_INVALID" }], bare ? {} : told);
    },
  }),

  /** A proxy that ends the connection once a body is over `bytes`, instead of answering 413. */
  "body-reset": ({ bytes = 1024 * 1024 }: { readonly bytes?: number } = {}): Fault => ({
    methods: ["PATCH", "PUT"],
    path: session,
    intercept: (request) => {
      if (Number(header(request, "content-length") ?? 0) <= bytes) return undefined;
      request.body = cutAfter(request.body, bytes);
      return "altered";
    },
  }),

  /** Takes no chunk over `bytes`, with GHCR's words. */
  "chunk-limit": ({ bytes = 4 * 1024 * 1024 }: { readonly bytes?: number } = {}): Fault => ({
    methods: ["PATCH"],
    path: session,
    intercept: (request) =>
      Number(header(request, "content-length") ?? 0) > bytes
        ? {
            ...errorReply([
              { code: "RANGE_INVALID", message: `request body is too large. Limit: ${bytes} bytes` },
            ]),
          }
        : undefined,
  }),

  /** Takes no blob over `bytes` in one PUT, but in chunks (ACR behind some of its front ends). */
  "whole-limit": ({ bytes = 20_000_000 }: { readonly bytes?: number } = {}): Fault => ({
    methods: ["PUT"],
    path: session,
    intercept: (request) => (Number(header(request, "content-length") ?? 0) > bytes ? tooLarge : undefined),
  }),

  /** Takes no chunk under `bytes` (ECR: 5 MiB); the closing PUT may be smaller. */
  "small-chunks-refused": ({
    bytes = 5 * 1024 * 1024,
    status = 400,
  }: {
    readonly bytes?: number;
    readonly status?: number;
  } = {}): Fault => ({
    methods: ["PATCH"],
    path: session,
    intercept: (request) => {
      if (Number(header(request, "content-length") ?? 0) >= bytes) return undefined;
      const message = `LayerPartTooSmallException: parts must be at least ${bytes} bytes in size`;
      return { ...errorReply([{ code: "UNKNOWN", message }]), status };
    },
  }),

  /** Asks for chunks of at least `bytes`, in the answer that opens an upload. */
  "chunk-minimum": ({ bytes = 5 * 1024 * 1024 }: { readonly bytes?: number } = {}): Fault => ({
    methods: ["POST"],
    path: uploads,
    transform: (reply) =>
      reply.status === 202
        ? { ...reply, headers: { ...reply.headers, "oci-chunk-min-length": `${bytes}` } }
        : undefined,
  }),

  /** Takes no Content-Range in RFC form, as ACR does. */
  "rfc-range-refused": (): Fault => ({
    methods: ["PATCH", "PUT"],
    path: session,
    intercept: (request) => {
      const range = header(request, "content-range");
      if (range === undefined || /^\d+-\d+$/.test(range)) return undefined;
      return {
        ...errorReply([{ code: "UNKNOWN", message: "the Content-Range header format is invalid" }]),
        status: 400,
      };
    },
  }),
} as const;

async function* stalledAfter(
  body: AsyncIterable<Uint8Array>,
  bytes: number,
  onStall: () => void,
): AsyncGenerator<Uint8Array> {
  let left = bytes;
  for await (const chunk of body) {
    const piece = chunk.subarray(0, left);
    left -= piece.byteLength;
    if (piece.byteLength > 0) yield piece;
    if (left > 0) continue;
    onStall();
    await new Promise(() => undefined);
  }
}

/** A body with one bit of its first piece flipped. */
export async function* flippedFirst(body: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let first = true;
  for await (const chunk of body) {
    const copy = Buffer.from(chunk);
    if (first) copy.writeUInt8(copy.readUInt8(0) ^ 1, 0);
    first = false;
    yield copy;
  }
}
