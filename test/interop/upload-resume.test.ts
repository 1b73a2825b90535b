/** A real docker-registry, and a program that is killed at the points where an upload is noted, taken up and stored. */
import { readdir, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { runMirror } from "../support/cli.ts";
import { type TempDir, tempDir } from "../support/temp.ts";
import { makeLongImage, upload } from "./support/corpus.ts";
import { type DockerRegistry, startDockerRegistry } from "./support/docker-registry.ts";
import { interopTools } from "./support/tools.ts";

const tools = await interopTools();
const program = tools?.dockerRegistry ?? "";
const MiB = 1024 * 1024;
const chunks = 5;

/** Ends the program at the n-th of the points with this name. */
const hook = `
import { subscribe } from "node:diagnostics_channel";
let left = Number(process.env.KILL_AT);
subscribe("mirror:point", ({ name }) => {
  if (name === process.env.KILL_POINT && --left === 0) process.kill(process.pid, "SIGKILL");
});
`;

describe.skipIf(tools === undefined)("an upload to docker-registry", () => {
  let folder: TempDir;
  let source: DockerRegistry;
  let image: Awaited<ReturnType<typeof makeLongImage>>;

  beforeAll(async () => {
    folder = await tempDir();
    source = await startDockerRegistry({ program });
    image = await makeLongImage(1, chunks * 5 * MiB - MiB);
    await upload(source.url, [image]);
    await writeFile(folder.join("hook.mjs"), hook);
  });

  afterAll(async () => {
    await source.close();
    await folder[Symbol.asyncDispose]();
  });

  /** Runs a sync; with a point, only so far. */
  async function sync(target: DockerRegistry, state: string, point?: string, at = 1): Promise<string> {
    const list = folder.join(`${state}.yaml`);
    const name = `${source.host}/${image.repository}:${image.tag}`;
    await writeFile(
      list,
      `version: 1\nregistries:\n  "${target.host}": {chunkSize: 5MiB}\nimages:\n  - ${name}\n`,
    );
    const kill = {
      NODE_OPTIONS: `--import=${folder.join("hook.mjs")}`,
      KILL_POINT: point,
      KILL_AT: `${at}`,
    };
    const env = { XDG_STATE_HOME: folder.join(state), ...(point === undefined ? {} : kill) };
    const result = await runMirror(["sync", "-f", list, "--registry", target.host], { env });
    if (point === undefined) await verified(target);
    expect(result, result.stderr).toMatchObject(point === undefined ? { code: 0 } : { signal: "SIGKILL" });
    return result.stderr;
  }

  /** Pulls from the target, which proves every digest. */
  async function verified(target: DockerRegistry): Promise<void> {
    const name = `${target.host}/${image.repository}:${image.tag}`;
    const { code, stderr } = await runMirror(["pull", name, "--to", "bundle.tar"]);
    expect(code, stderr).toBe(0);
  }

  const records = async (state: string): Promise<readonly string[]> =>
    await readdir(folder.join(state, "mirror", "uploads"));
  const patches = async (target: DockerRegistry): Promise<number> =>
    await target.accessLog.count("PATCH", /\/uploads\//);

  test("that is killed between two chunks goes on with the third", async () => {
    await using target = await startDockerRegistry({ program });
    await sync(target, "between", "upload:noted", 2);
    expect(await patches(target)).toBe(2);
    const said = await sync(target, "between");
    expect(said).not.toContain("begins anew");
    expect(await patches(target)).toBe(chunks - 1);
    expect(await target.accessLog.count("GET", /\/uploads\//)).toBe(1);
    expect(await records("between")).toEqual([]);
  });

  test("that is killed again and again sends every chunk once", async () => {
    await using target = await startDockerRegistry({ program });
    await sync(target, "again", "upload:noted", 1);
    await sync(target, "again", "upload:taken");
    for (let chunk = 2; chunk < chunks; chunk += 1) {
      // The first note of a run says where it begins.
      await sync(target, "again", "upload:noted", 3);
      expect(await patches(target)).toBe(chunk);
    }
    await sync(target, "again");
    expect(await patches(target)).toBe(chunks - 1);
    expect(await records("again")).toEqual([]);
  });

  test("that is killed once it is stored leaves nothing to do", async () => {
    await using target = await startDockerRegistry({ program });
    // The large blob is the first to begin, and the last to end.
    await sync(target, "stored", "upload:stored", image.content.kind === "image" ? 2 : 1);
    await sync(target, "stored");
    expect(await patches(target)).toBe(chunks - 1);
    expect(await records("stored")).toEqual([]);
  });

  test("begins anew where a restart made the registry forget it, and says so", async () => {
    const dir = folder.join("restarted");
    let port: number;
    {
      await using target = await startDockerRegistry({ program, dir, randomSecret: true });
      port = Number(new URL(target.url).port);
      await sync(target, "restarted", "upload:noted", 2);
    }
    await using target = await startDockerRegistry({ program, dir, port, randomSecret: true });
    const said = await sync(target, "restarted");
    expect(said.match(/begins anew: \S+ does not tell how far it got \(404\)$/gm)).toHaveLength(1);
    expect(await patches(target)).toBe(chunks - 1);
  });
});
