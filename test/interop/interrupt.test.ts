/** Ctrl-C while the system waits for a DNS server: nothing can call that off, and it takes ten seconds and more. */
import { writeFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { cleanEnvironment, programPath } from "../support/cli.ts";
import { tempDir } from "../support/temp.ts";
import { canMakeNamespaces, makeNamespace } from "./support/namespace.ts";

const namespaces = await canMakeNamespaces();

/** Is a DNS server that does not answer; sends the signal with the first question, and tells when the program ends. */
const script = `
import { spawn } from "node:child_process";
import { createSocket } from "node:dgram";
const server = createSocket("udp4");
await new Promise((resolve) => server.bind(53, "127.0.0.1", resolve));
const child = spawn(process.execPath, process.argv.slice(2), { stdio: ["ignore", "ignore", "inherit"] });
let since;
server.once("message", () => {
  since = performance.now();
  child.kill("SIGINT");
});
child.on("exit", (code, signal) => {
  console.log(JSON.stringify({ code, signal, ms: performance.now() - since }));
  process.exit(0);
});
`;

test.skipIf(!namespaces)("Ctrl-C does not wait for a DNS server that does not answer", async () => {
  await using folder = await tempDir();
  await using namespace = await makeNamespace([]);
  const [resolver, main] = [folder.join("resolv.conf"), folder.join("main.mjs")];
  await writeFile(resolver, "nameserver 127.0.0.1\noptions timeout:10 attempts:2\n");
  await writeFile(main, script);
  const clean = Object.entries(cleanEnvironment(folder.path)).map(([name, value = ""]) => `${name}=${value}`);
  const pull = [programPath, "pull", "registry.example/app:1", "--to", folder.join("bundle.tar")];
  const { stdout, stderr } = await namespace.exec("sh", [
    "-c",
    'mount --bind "$0" /etc/resolv.conf && exec "$@"',
    resolver,
    "env",
    "-i",
    ...clean,
    process.execPath,
    main,
    ...pull,
  ]);
  // Shells make 130 of the signal.
  const ended: unknown = JSON.parse(stdout);
  expect(ended, stderr).toMatchObject({ code: null, signal: "SIGINT" });
  expect(ended).toHaveProperty(
    "ms",
    expect.toSatisfy((ms: number) => ms < 10_000),
  );
  expect(stderr).toContain("Error: interrupted");
});
