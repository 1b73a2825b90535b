/** Faults of manifests (rows 15 to 29 of the fault list). */
import { digestOf, isDigest } from "../../../src/oci/digest.ts";
import { errorReply } from "../errors.ts";
import type { Fault, Interception } from "../fault.ts";
import { readBody, replyHeader } from "../http.ts";
import { everything, flipped, isContent, iterated, manifests } from "./shared.ts";

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
