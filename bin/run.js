#!/usr/bin/env node
// Plain JavaScript that any Node since 14 can read: it may have to hand over to a newer one.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { setFlagsFromString } from "node:v8";

const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
const isCurrent = major > 24 || (major === 24 && minor >= 11) || (major === 22 && minor >= 19);
const handedOver = "MIRROR_HANDED_OVER";

if (isCurrent) {
  // V8 lets its nursery grow to where thousands of small requests leave 100 MB of garbage lying around. Held small,
  // it is emptied more often at no cost in time. This must come before anything grows it.
  setFlagsFromString("--semi-space-growth-factor=1");
  const { main } = await import("../dist/cli/main.js");
  await main(process.argv.slice(2), import.meta.url);
} else {
  // The project brings a current Node as a dependency, since many machines have an older one on the path.
  const own = fileURLToPath(new URL("../node_modules/node/bin/node", import.meta.url));
  if (!existsSync(own) || process.env[handedOver]) {
    console.error(`Error: mirror needs Node 22.19 or later, and this is Node ${process.versions.node}`);
    process.exit(1);
  }
  const child = spawn(own, [fileURLToPath(import.meta.url), ...process.argv.slice(2)], {
    stdio: "inherit",
    env: { ...process.env, [handedOver]: "1" },
  });
  // A terminal sends Ctrl-C to both; what is sent to this process alone has to be passed on.
  for (const signal of ["SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal));
  process.on("SIGINT", () => {});
  child.on("exit", (code, signal) => {
    process.exitCode = signal ? 130 : (code ?? 1);
  });
}
