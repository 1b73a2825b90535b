/**
 * The table of named faults. Each entry makes a {@link Fault} from its options, whose defaults are the plainest
 * form of the misbehaviour. A new quirk of a registry begins as an entry here.
 */
import { digestOf, isDigest } from "../../src/oci/digest.ts";
import { errorReply } from "./errors.ts";
import type { Fault, Interception } from "./fault.ts";
import {
  ConnectionCut,
  header,
  lengthOf,
  type Reply,
  type ReplyHeaders,
  readBody,
  replyHeader,
} from "./http.ts";

const everything = /^\//;
const blobs = /^\/(?:v2|storage)\/.+\/blobs\/[a-z0-9]+:[0-9a-f]+$/;
const registryBlobs = /^\/v2\/(.+)\/blobs\/([a-z0-9]+:[0-9a-f]+)$/;
const manifests = /^\/v2\/(.+)\/manifests\/([^/]+)$/;
const uploads = /^\/v2\/.+\/blobs\/uploads\/[^/]*$/;
const session = /^\/v2\/.+\/blobs\/uploads\/([^/]+)$/;

export const faults = {
  /** Cuts the connection after `bytes` of a blob. Answers that are not longer than that pass. */
  "drop-body-after": ({ bytes = 1000 }: { readonly bytes?: number } = {}): Fault => ({
    methods: ["GET"],
    path: blobs,
    transform: (reply) =>
      isContent(reply) && lengthOf(reply.body) > bytes ? { ...reply, cutAfter: bytes } : undefined,
  }),

  /** Cuts the connection after `bytes` of an upload's body have been read; they stay in the session. */
  "drop-upload-after": ({ bytes = 1000 }: { readonly bytes?: number } = {}): Fault => ({
    methods: ["PATCH", "PUT"],
    path: session,
    intercept: (request) => {
      request.body = cutAfter(request.body, bytes);
      return "altered";
    },
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

  /** Answers with any status (500 if left out), headers and body, and reads nothing of the request. */
  status: ({
    status = 500,
    headers = {},
    body = "",
  }: {
    readonly status?: number;
    readonly headers?: ReplyHeaders;
    readonly body?: string | Uint8Array;
  } = {}): Fault => ({
    path: everything,
    intercept: () => ({ status, headers, body: [Buffer.from(body)] }),
  }),

  /** Flips one bit of a blob, in the middle of what is sent unless `at` (bytes from there) says where. */
  "corrupt-blob": ({ at }: { readonly at?: number } = {}): Fault => ({
    methods: ["GET"],
    path: blobs,
    transform: (reply) => (isContent(reply) ? flipped(reply, at) : undefined),
  }),

  /** Flips one bit of a manifest. */
  "corrupt-manifest": ({ at }: { readonly at?: number } = {}): Fault => ({
    methods: ["GET"],
    path: manifests,
    transform: (reply) => (isContent(reply) ? flipped(reply, at) : undefined),
  }),

  /** Names another digest (that of nothing, if left out) in the header of manifests and blobs. */
  "wrong-digest-header": ({
    digest = digestOf(Buffer.alloc(0)),
  }: {
    readonly digest?: string;
  } = {}): Fault => ({
    path: everything,
    transform: (reply) =>
      replyHeader(reply, "docker-content-digest") === undefined
        ? undefined
        : { ...reply, headers: { ...reply.headers, "docker-content-digest": digest } },
  }),

  /** Leaves the digest header out. */
  "no-digest-header": (): Fault => ({
    path: everything,
    transform: (reply) => {
      if (replyHeader(reply, "docker-content-digest") === undefined) return undefined;
      const { "docker-content-digest": _digest, ...headers } = reply.headers ?? {};
      return { ...reply, headers };
    },
  }),

  /** Does not know HEAD. */
  "head-405": (): Fault => ({
    methods: ["HEAD"],
    path: everything,
    intercept: () => errorReply([{ code: "UNSUPPORTED" }]),
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

  /** Takes no chunks: 405 (if left out), or 416. */
  "reject-patch": ({ status = 405 }: { readonly status?: 405 | 416 } = {}): Fault => ({
    methods: ["PATCH"],
    path: session,
    intercept: () => errorReply([{ code: status === 405 ? "UNSUPPORTED" : "RANGE_INVALID" }]),
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

  /** Stores every manifest with a byte more, and says so by the digest of its answer. */
  "altering-registry": (): Fault => ({
    methods: ["PUT"],
    path: manifests,
    intercept: async (request): Promise<Interception> => {
      const altered = Buffer.concat([(await readBody(request)) ?? Buffer.alloc(0), Buffer.from("\n")]);
      const [, repository = "", reference = ""] = manifests.exec(request.path) ?? [];
      request.body = iterated(altered);
      if (isDigest(reference)) request.path = `/v2/${repository}/manifests/${digestOf(altered)}`;
      return "altered";
    },
  }),

  /** Never answers. */
  slow: (): Fault => ({ path: everything, intercept: () => ({ status: 0, held: true }) }),

  /** 429 with `retryAfter`: seconds or an HTTP date; 1 if left out. */
  "rate-limit": ({ retryAfter = "1" }: { readonly retryAfter?: string } = {}): Fault => ({
    path: everything,
    intercept: () => errorReply([{ code: "TOOMANYREQUESTS" }], { "retry-after": retryAfter }),
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

export type FaultName = keyof typeof faults;
/** The options of a fault; an object of none for those that have none. */
export type FaultOptions<Name extends FaultName> =
  Parameters<(typeof faults)[Name]> extends readonly []
    ? object
    : NonNullable<Parameters<(typeof faults)[Name]>[0]>;

const tooLarge: Reply = {
  status: 413,
  headers: { "content-type": "text/html", connection: "close" },
  body: [Buffer.from("<html><head><title>413 Request Entity Too Large</title></head></html>\r\n")],
};

function isContent(reply: Reply): boolean {
  return (reply.status === 200 || reply.status === 206) && lengthOf(reply.body) > 0;
}

function flipped(reply: Reply, at = Math.floor(lengthOf(reply.body) / 2)): Reply {
  // The pieces belong to the store, so only a copy may be changed.
  const bytes = Buffer.concat(reply.body ?? []);
  const place = Math.min(at, bytes.length - 1);
  bytes.writeUInt8(bytes.readUInt8(place) ^ 1, place);
  return { ...reply, body: [bytes] };
}

async function* cutAfter(body: AsyncIterable<Uint8Array>, bytes: number): AsyncGenerator<Uint8Array> {
  let left = bytes;
  for await (const chunk of body) {
    if (chunk.byteLength > left) {
      yield chunk.subarray(0, left);
      throw new ConnectionCut();
    }
    left -= chunk.byteLength;
    yield chunk;
  }
}

async function* iterated(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}
