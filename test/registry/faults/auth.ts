/** Faults of challenges and token services (rows 1 to 10 of the fault list). */
import { tokenService } from "../auth.ts";
import type { Fault } from "../fault.ts";
import { type ReplyHeaders, replyHeader } from "../http.ts";
import { everything } from "./shared.ts";

const token = /^\/token$/;

export const authFaults = {
  /** Sends other challenges with its 401s: the given header lines, in which `{own}` stands for its own one. */
  challenge: ({ lines = [] }: { readonly lines?: readonly string[] } = {}): Fault => ({
    path: everything,
    transform: (reply) => {
      const own = replyHeader(reply, "www-authenticate");
      if (reply.status !== 401 || own === undefined) return undefined;
      const { "www-authenticate": _own, ...headers } = reply.headers ?? {};
      const sent = lines.map((line) => line.replaceAll("{own}", own));
      return { ...reply, headers: sent.length === 0 ? headers : { ...headers, "www-authenticate": sent } };
    },
  }),

  /** The token service answers whatever is given; an empty 200 if left out. */
  "token-answer": ({
    status = 200,
    headers = {},
    body = "",
  }: {
    readonly status?: number;
    readonly headers?: ReplyHeaders;
    readonly body?: string;
  } = {}): Fault => ({
    path: token,
    intercept: () => ({ status, headers, body: [Buffer.from(body)] }),
  }),

  /** Takes no token, however fresh: 401 with `error` to every request that carries one. */
  "reject-tokens": ({
    realm = "",
    error = "invalid_token",
  }: {
    readonly realm?: string;
    readonly error?: string;
  } = {}): Fault => ({
    path: /^\/v2\//,
    intercept: ({ headers }) => {
      if (headers.authorization === undefined) return undefined;
      return {
        status: 401,
        headers: { "www-authenticate": `Bearer realm="${realm}",service="${tokenService}",error="${error}"` },
      };
    },
  }),
} as const;
