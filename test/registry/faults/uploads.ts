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
} as const;
