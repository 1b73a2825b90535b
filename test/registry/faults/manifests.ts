/** Faults of manifests (rows 15 to 29 of the fault list). */
import { digestOf, isDigest } from "../../../src/oci/digest.ts";
import { mediaTypes } from "../../../src/oci/media-types.ts";
import { errorReply } from "../errors.ts";
import type { Fault, Interception } from "../fault.ts";
import { readBody, replyHeader } from "../http.ts";
import { everything, flipped, isContent, iterated, manifests, registryBlobs } from "./shared.ts";

export const manifestFaults = {
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

  /** Answers HEAD of a manifest with 404, and GET with what is there. */
  "head-404": (): Fault => ({
    methods: ["HEAD"],
    path: manifests,
    intercept: () => errorReply([{ code: "MANIFEST_UNKNOWN" }]),
  }),

  /** Answers GET of a manifest with 404, and HEAD with what is there (Artifactory, containerd/containerd#7390). */
  "get-404": (): Fault => ({
    methods: ["GET"],
    path: manifests,
    intercept: () => errorReply([{ code: "MANIFEST_UNKNOWN" }]),
  }),

  /** Serves manifests with another Content-Type (`text/plain` if left out). */
  "content-type": ({ type = "text/plain" }: { readonly type?: string } = {}): Fault => ({
    methods: ["GET", "HEAD"],
    path: manifests,
    transform: (reply) =>
      reply.status === 200 ? { ...reply, headers: { ...reply.headers, "content-type": type } } : undefined,
  }),

  /** Answers any manifest with 200 and another document (a login page, if left out), under no digest. */
  "other-document": ({
    body = "<!doctype html><title>Sign in</title>",
    type = "text/html; charset=utf-8",
  }: {
    readonly body?: string | Uint8Array;
    readonly type?: string;
  } = {}): Fault => ({
    methods: ["GET", "HEAD"],
    path: manifests,
    intercept: () => ({ status: 200, headers: { "content-type": type }, body: [Buffer.from(body)] }),
  }),

  /** Serves a manifest that never ends, in chunks. */
  "endless-manifest": (): Fault => ({
    methods: ["GET"],
    path: manifests,
    intercept: () => ({
      status: 200,
      raw: (socket) => {
        const chunk = `10000\r\n${" ".repeat(0x10000)}\r\n`;
        const more = (): void => {
          while (!socket.destroyed && socket.write(chunk));
        };
        socket.on("drain", more);
        socket.on("error", () => socket.destroy());
        socket.write(
          `HTTP/1.1 200 OK\r\ncontent-type: ${mediaTypes.ociManifest}\r\ntransfer-encoding: chunked\r\n\r\n`,
        );
        more();
      },
    }),
  }),

  /** Says that it has blobs that it does not have, to HEAD and to mounts; manifests that need them are refused. */
  "phantom-blobs": (): Fault => ({
    methods: ["HEAD", "POST"],
    path: everything,
    intercept: ({ method, path, query }, { content }) => {
      const [, repository = "", digest = ""] = registryBlobs.exec(path) ?? [];
      if (method === "POST" && query.has("mount")) return { status: 201, headers: { location: path } };
      if (digest === "" || content.findBlob(repository, digest) !== undefined) return undefined;
      return { status: 200, headers: { "docker-content-digest": digest } };
    },
  }),

  /** Refuses a manifest as if its parts were not there, with this code, and names none of them. */
  "unnamed-parts": ({
    code = "MANIFEST_BLOB_UNKNOWN",
  }: {
    readonly code?: "MANIFEST_BLOB_UNKNOWN" | "MANIFEST_UNKNOWN";
  } = {}): Fault => ({
    methods: ["PUT"],
    path: manifests,
    intercept: async (request): Promise<Interception> => {
      await readBody(request);
      return errorReply([{ code }]);
    },
  }),

  /** Leaves the names of what is missing out of its refusals. */
  "nameless-errors": (): Fault => ({
    methods: ["PUT"],
    path: manifests,
    transform: (reply) =>
      reply.status === 400 ? errorReply([{ code: "MANIFEST_BLOB_UNKNOWN" }]) : undefined,
  }),

  /** Answers PUT of a manifest with another status (202 if left out) and no digest, as some proxies do. */
  "silent-put": ({ status = 202 }: { readonly status?: number } = {}): Fault => ({
    methods: ["PUT"],
    path: manifests,
    transform: (reply) => (reply.status === 201 ? { status } : undefined),
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
} as const;
