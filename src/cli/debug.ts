/** What `DEBUG` shows of the wire: one line for each exchange. */
import type { RequestTrace } from "../registry/trace.ts";

/** True if the user looks for a fault. */
export function isDebug(env: NodeJS.ProcessEnv): boolean {
  return !/^(?:|0|false|no|off)$/i.test(env["DEBUG"] ?? "");
}

/** `GET https://host/v2/app/manifests/1.0 200 in 12 ms, authenticated, request id 4711` */
export function formatTrace(trace: RequestTrace): string {
  const { method, url, outcome, ms, authenticated, requestId } = trace;
  const notes = [
    ...(authenticated ? ["authenticated"] : []),
    ...(requestId === undefined ? [] : [`request id ${requestId}`]),
  ];
  return [`${method} ${url} ${outcome} in ${ms} ms`, ...notes].join(", ");
}
