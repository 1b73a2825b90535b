/** Faults of any request: refusals, silence, limits (row 50 of the fault list). */
import { errorReply } from "../errors.ts";
import type { Fault } from "../fault.ts";
import type { ReplyHeaders } from "../http.ts";
import { everything } from "./shared.ts";

export const generalFaults = {
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

  /** Never answers. */
  slow: (): Fault => ({ path: everything, intercept: () => ({ status: 0, held: true }) }),

  /** 429 with `retryAfter`: seconds or an HTTP date; 1 if left out. */
  "rate-limit": ({ retryAfter = "1" }: { readonly retryAfter?: string } = {}): Fault => ({
    path: everything,
    intercept: () => errorReply([{ code: "TOOMANYREQUESTS" }], { "retry-after": retryAfter }),
  }),
} as const;
