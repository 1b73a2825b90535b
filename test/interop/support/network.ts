/** What the servers of the interop tests have in common: a port to listen on, and a way to ask whether they are there. */
import { once } from "node:events";
import { request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import { createServer } from "node:net";
import { setTimeout as pause } from "node:timers/promises";
import { insideNamespace } from "./namespace.ts";
import { run } from "./process.ts";

/**
 * Sends one GET and gives the status. Trusts every certificate: it only asks
 * whether somebody is there. `netns`: the namespace to ask from.
 */
export async function get(url: string, netns: string | undefined): Promise<number> {
  if (netns !== undefined) {
    const script = `process.env.NODE_TLS_REJECT_UNAUTHORIZED = "0"; fetch(${JSON.stringify(url)}).then((answer) => console.log(answer.status))`;
    const outcome = await run(...insideNamespace(netns, process.execPath, ["-e", script]));
    if (outcome.code !== 0) throw new Error(`GET ${url}: ${outcome.stderr.trim()}`);
    return Number(outcome.stdout);
  }
  return new Promise((settle, fail) => {
    const send = url.startsWith("https:") ? httpsRequest : httpRequest;
    const sent = send(url, { rejectUnauthorized: false, agent: false }, (answer) => {
      answer.resume();
      answer.once("end", () => settle(answer.statusCode ?? 0));
    });
    sent.once("error", fail);
    sent.end();
  });
}

/** A port of 127.0.0.1 that nobody listens on at this moment. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  if (address === null || typeof address === "string") throw new Error("no port is free");
  return address.port;
}

const startTimeoutMs = 20_000;

/** Waits until a server answers a GET with whatever status. Throws after 20 seconds. */
export async function listening(url: string, netns?: string): Promise<void> {
  for (const deadline = performance.now() + startTimeoutMs; ; await pause(20)) {
    try {
      await get(url, netns);
      return;
    } catch (error) {
      if (performance.now() > deadline) throw new Error(`no answer from ${url}`, { cause: error });
    }
  }
}
