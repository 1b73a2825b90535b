/**
 * `npm run demo`: the whole way of an image across the air gap, on this machine, with two registries in memory and
 * the program's own commands. Ends with 1 if a step fails. Leaves nothing behind.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, writeFile } from "node:fs/promises";
import { startRegistry, type TestRegistry } from "../registry/registry.ts";
import { cleanEnvironment, programPath } from "../support/cli.ts";
import { type DemoImage, seedDemo } from "../support/demo-images.ts";
import { type TempDir, tempDir } from "../support/temp.ts";

// Ctrl-C reaches the command that runs as well; this process lives on to clean up behind it.
process.on("SIGINT", () => undefined);

try {
  await demo();
} catch (error) {
  say(`\nThe demo failed: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}

async function demo(): Promise<void> {
  await using folder = await tempDir();
  await mkdir(folder.join("home"));
  await using source = await startRegistry();
  await using target = await startRegistry();

  const images = await seedDemo(source);
  await writeFile(folder.join("manifests.yaml"), listOf(source, images));
  say(`A registry on the internet:     ${source.host}, with ${images.length} images`);
  say(`A registry behind the air gap:  ${target.host}, empty\n`);

  const mirror = (...args: readonly string[]): Promise<void> => run(folder, args);
  await mirror("pull", "--to", "bundle.tar");
  await mirror("ls", "bundle.tar");
  await mirror("inspect", "bundle.tar");
  await mirror("verify", "bundle.tar");
  say("The connected side is done. The file bundle.tar is all that travels.\n");
  await mirror("push", "bundle.tar", "--registry", target.host);
  await mirror("ls", target.host);
  await mirror("verify", "bundle.tar", "--registry", target.host);
  checkCopies(target, images);

  say("Once more: everything is there already, so nothing moves.\n");
  target.resetLog();
  await mirror("push", "bundle.tar", "--registry", target.host);
  checkNothingMoved(target);
  say(`It all worked: ${images.length} images are behind the air gap, byte for byte.`);
}

/** Runs one command, as a user would type it in the demo's folder, and shows what it writes. */
async function run(folder: TempDir, args: readonly string[]): Promise<void> {
  say(`$ mirror ${args.join(" ")}`);
  const child = spawn(process.execPath, [programPath, ...args], {
    cwd: folder.path,
    env: cleanEnvironment(folder.join("home")),
    stdio: "inherit",
  });
  await once(child, "close");
  if (child.exitCode !== 0) {
    throw new Error(`mirror ${args[0] ?? ""} ended with ${child.signalCode ?? child.exitCode ?? "nothing"}`);
  }
  say("");
}

function listOf(source: TestRegistry, images: readonly DemoImage[]): string {
  const lines = images.map(({ repository, tag }) => `  - ${source.host}/${repository}:${tag}`);
  return ["version: 1", "images:", ...lines, ""].join("\n");
}

/** Looks into the target itself: the demo must not take the program's word for it. */
function checkCopies(target: TestRegistry, images: readonly DemoImage[]): void {
  for (const { repository, tag, digest } of images) {
    const found = target.manifest(repository, tag)?.digest;
    if (found !== digest)
      throw new Error(`${repository}:${tag} is ${found ?? "missing"}, expected ${digest}`);
  }
}

function checkNothingMoved(target: TestRegistry): void {
  const sent = target.requests.filter(({ bytesIn }) => bytesIn > 0);
  if (sent.length > 0) throw new Error(`the second push sent ${sent.map(({ path }) => path).join(", ")}`);
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
