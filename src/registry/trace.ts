/** What went over the wire, for `DEBUG`: one record for each exchange, with no secret in it. */
import type { Clock } from "../content/retry.ts";
import { systemCode } from "../errors.ts";
import { describeUrl } from "./errors.ts";
import { failedAnswer, type Transport } from "./http.ts";

/** One request and what came of it. */
export interface RequestTrace {
  readonly method: string;
  /** Scheme, host and path; a query is only hinted at, since it may be a signature. */
  readonly url: string;
  /** True if it carried an Authorization header. */
  readonly authenticated: boolean;
  /** The status, or the system's code for a request without an answer. */
  readonly outcome: number | string;
  readonly requestId?: string;
  /** Milliseconds until the answer began. */
  readonly ms: number;
}

/** The transport, telling of every exchange. */
export function traced(transport: Transport, clock: Clock, tell: (trace: RequestTrace) => void): Transport {
  return async (exchange) => {
    const startedMs = clock.now();
    const report = (outcome: number | string, requestId?: string): void =>
      tell({
        method: exchange.method,
        url: describeUrl(exchange.url),
        authenticated: exchange.authorization !== undefined,
        outcome,
        ms: Math.round(clock.now() - startedMs),
        ...(requestId === undefined ? {} : { requestId }),
      });
    try {
      const answer = await transport(exchange);
      report(answer.status, failedAnswer(exchange.method, answer, "").requestId);
      return answer;
    } catch (error) {
      report(systemCode(error) ?? "failed");
      throw error;
    }
  };
}
