/** Bundles in volumes: written, joined, read in place, and taken one after another. */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { copyFile, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { startRegistry, type TestRegistry } from "../registry/registry.ts";
import { type RunResult, runMirror } from "../support/cli.ts";
import { makeImage, seed, type TestImage } from "../support/images.ts";
import { allTests } from "../support/lifetimes.ts";
import { type TempDir, tempDir } from "../support/temp.ts";
import { startWorkplace } from "../support/workplace.ts";

const mebibyte = 1024 * 1024;

/** Four images with layers of their own, and one that they share. */
let images: Readonly<Record<"web" | "api" | "job" | "big", TestImage>>;
let source: TestRegistry;
let folder: TempDir;
let whole: Buffer;

allTests(startWorkplace, async (made) => {
  ({ folder, registry: source } = made);
  images = {
    web: await makeImage({ seed: "web", layers: [900_000, 700_000] }),
    api: await makeImage({ seed: "api", layers: [800_000, 600_000] }),
    job: await makeImage({ seed: "job", layers: [500_000, 300_000] }),
    big: await makeImage({ seed: "big", layers: [3_500_000] }),
  };
  for (const [name, image] of Object.entries(images)) seed(source, `team/${name}`, "1.0", image);
  const plain = await runMirror(["pull", ...names(), "--to", folder.join("plain.tar")]);
  expect(plain.code, plain.stderr).toBe(0);
  whole = await readFile(folder.join("plain.tar"));
});

const names = (): string[] => Object.keys(images).map((name) => `${source.host}/team/${name}:1.0`);
const nameOf = (image: string): string => `${source.host}/team/${image}:1.0`;
const pull = async (cwd: string, ...flags: readonly string[]): Promise<RunResult> =>
  await runMirror(["pull", ...names(), "--to", "bundle.tar", ...flags], { cwd });
const mirror = async (cwd: string, ...args: readonly string[]): Promise<RunResult> =>
  await runMirror(args, { cwd });

/** A folder with the set in volumes of 1 MiB. */
async function volumeFolder(): Promise<TempDir> {
  const set = await tempDir();
  const pulled = await pull(set.path, "--volume-size", "1MiB");
  expect(pulled.code, pulled.stderr).toBe(0);
  return set;
}

/** The volumes (by number) that hold some of a layer. */
function volumesOf(image: TestImage, layer: number): number[] {
  const bytes = image.layers[layer]?.bytes ?? Buffer.alloc(0);
  const at = whole.indexOf(bytes) - 512;
  const [first, last] = [at, at + 512 + bytes.byteLength - 1].map((byte) => Math.floor(byte / mebibyte) + 1);
  return Array.from({ length: (last ?? 0) - (first ?? 0) + 1 }, (_, index) => (first ?? 0) + index);
}

const file = (volume: number): string => `bundle.tar.${String(volume).padStart(3, "0")}`;
const list = (volume: number): string => `bundle.tar-${String(volume).padStart(3, "0")}.sum`;
const count = (): number => Math.ceil(whole.byteLength / mebibyte);

async function sh(cwd: string, command: string): Promise<{ stdout: Buffer; stderr: Buffer }> {
  return await promisify(execFile)("sh", ["-c", command], { cwd, encoding: "buffer", maxBuffer: 1 << 28 });
}

test("volumes have the size that was asked for, and cat joins them to the plain bundle", async () => {
  await using set = await volumeFolder();
  const volumes = Array.from({ length: count() }, (_, index) => index + 1);
  expect((await readdir(set.path)).toSorted()).toEqual(
    [...volumes.map(file), ...volumes.map(list)].toSorted(),
  );
  const { stdout } = await sh(set.path, "cat bundle.tar.*");
  expect(stdout.equals(whole)).toBe(true);
  for (const volume of volumes.slice(0, -1))
    expect((await readFile(set.join(file(volume)))).byteLength).toBe(mebibyte);
});

test("each volume has a checksum list that sha256sum takes, and that says what lies in it", async () => {
  await using set = await volumeFolder();
  await sh(set.path, "for sum in *.sum; do sha256sum --strict -c $sum || exit 1; done");
  const text = await readFile(set.join(list(2)), "utf8");
  const json: unknown = JSON.parse(/^# mirror-volume (\{.*\}) sha256:[0-9a-f]{64}$/m.exec(text)?.[1] ?? "");
  const bytes = whole.subarray(mebibyte, 2 * mebibyte);
  expect(json).toMatchObject({
    version: 1,
    volume: 2,
    volumes: count(),
    offset: mebibyte,
    size: mebibyte,
    sha256: createHash("sha256").update(bytes).digest("hex"),
  });
  const { blobs } = json as { blobs: [string, number, number, number][] };
  for (const [digest, at, from, length] of blobs) {
    const blob = Object.values(images)
      .flatMap((image) => image.layers)
      .find(({ descriptor }) => descriptor.digest === digest);
    expect(blob?.bytes.subarray(from, from + length).equals(bytes.subarray(at, at + length))).toBe(true);
  }
});

test.each(["bundle.tar", "bundle.tar.002"])(
  "%s stands for the set: verify, ls, inspect and push",
  async (name) => {
    await using set = await volumeFolder();
    await using target = await startRegistry();
    const verified = await mirror(set.path, "verify", name);
    expect(verified.code, verified.stderr).toBe(0);
    expect(verified.stdout).toMatch(/is whole: 7 volumes, 4 images, .* every digest proved/);
    expect((await mirror(set.path, "ls", name)).stdout).toMatch(/team\/web:1\.0/);
    expect((await mirror(set.path, "inspect", name)).stdout).toMatch(/team\/big:1\.0/);
    const pushed = await mirror(set.path, "push", name, "--registry", target.host);
    expect(pushed.code, pushed.stderr).toBe(0);
    for (const [repository, image] of Object.entries(images))
      expect(target.manifest(`team/${repository}`, "1.0")?.digest).toBe(image.descriptor.digest);
  },
);

test("one volume with its list is enough to see what is in the bundle", async () => {
  await using set = await volumeFolder();
  await using medium = await tempDir();
  for (const name of [file(5), list(5)]) await copyFile(set.join(name), medium.join(name));
  for (const command of ["ls", "inspect"]) {
    const result = await mirror(medium.path, command, file(5));
    expect(result.code, result.stderr).toBe(0);
    expect(result.stdout).toBe((await mirror(set.path, command, "bundle.tar")).stdout);
    expect(result.stdout).toContain("linux/amd64");
  }
});

test("the same pull again changes nothing, another size writes other volumes out of what is there", async () => {
  await using set = await volumeFolder();
  source.resetLog();
  const again = await pull(set.path, "--volume-size", "1MiB");
  expect(again.stderr).toContain("pulled 4 images (4 unchanged)");
  const larger = await pull(set.path, "--volume-size", "3MiB");
  expect(larger.code, larger.stderr).toBe(0);
  expect(source.count("GET", /\/blobs\//)).toBe(0);
  const { stdout } = await sh(
    set.path,
    "cat bundle.tar.* && for sum in *.sum; do sha256sum -c $sum >&2; done",
  );
  expect(stdout.equals(whole)).toBe(true);
  expect((await readdir(set.path)).length).toBe(2 * Math.ceil(whole.byteLength / (3 * mebibyte)));
  const plain = await pull(set.path);
  expect(plain.code, plain.stderr).toBe(0);
  expect(source.count("GET", /\/blobs\//)).toBe(0);
  expect((await readFile(set.join("bundle.tar"))).equals(whole)).toBe(true);
});

test.each([
  ["1kB", /Cannot write volumes of 1kB: the least is 1 MiB/],
  ["4", /Cannot read size "4": expected a number and a unit/],
])("--volume-size %s is refused", async (size, message) => {
  const result = await pull(folder.path, "--volume-size", size);
  expect([result.code, result.stderr]).toEqual([2, expect.stringMatching(message)]);
});

/** What a registry was sent: blobs by digest, as uploads that were finished. */
const uploads = (target: TestRegistry): string[] =>
  target.requests.flatMap(({ method, path }) => {
    const [, digest] = method === "PUT" ? (/digest=([^&]+)/.exec(path) ?? []) : [];
    return digest === undefined ? [] : [decodeURIComponent(digest)];
  });

/** Flips a bit of a volume, somewhere in the middle. */
async function damage(path: string): Promise<void> {
  const bytes = await readFile(path);
  const at = Math.floor(bytes.byteLength / 2);
  bytes.writeUInt8(bytes.readUInt8(at) ^ 4, at);
  await writeFile(path, bytes);
}

test("of a lost and a damaged volume, verify names both and what they hold, and push ends the rest later", async () => {
  await using set = await volumeFolder();
  await using away = await tempDir();
  await using target = await startRegistry();
  // One in the middle of the large layer, and one that holds a whole blob or more of others.
  const [lost = 0] = volumesOf(images.big, 0).slice(1);
  const [hurt = 0] = [1, 2, 3, 4, 5, 6, 7, 8]
    .filter((volume) => !volumesOf(images.big, 0).includes(volume))
    .slice(1);
  await rename(set.join(file(lost)), away.join(file(lost)));
  await copyFile(set.join(file(hurt)), away.join(file(hurt)));
  await damage(set.join(file(hurt)));

  const verified = await mirror(set.path, "verify", "bundle.tar");
  expect(verified.code, verified.stderr).toBe(4);
  expect(verified.stderr).toContain(
    `volume ${lost} of ${count()}: ${file(lost)} is missing; it holds all or part of`,
  );
  expect(verified.stderr).toContain(
    `volume ${hurt} of ${count()}: ${file(hurt)} is damaged; it holds all or part of`,
  );
  expect(verified.stderr.match(/volume \d of/g), verified.stderr).toHaveLength(2);
  expect(verified.stderr).toContain(`  ${images.big.layers[0]?.descriptor.digest} of ${nameOf("big")}`);

  const first = await mirror(set.path, "push", "bundle.tar", "--registry", target.host);
  expect(first.code, first.stderr).toBe(4);
  expect(first.stderr).toMatch(new RegExp(`^waiting .*team/big:1\\.0 for ${file(lost)}$`, "m"));
  expect(target.manifest("team/big", "1.0")).toBeUndefined();
  const sent = uploads(target);
  expect(new Set(sent).size).toBe(sent.length);

  for (const volume of [lost, hurt]) await copyFile(away.join(file(volume)), set.join(file(volume)));
  target.resetLog();
  const second = await mirror(set.path, "push", "bundle.tar", "--registry", target.host);
  expect(second.code, second.stderr).toBe(0);
  expect(uploads(target).filter((digest) => sent.includes(digest))).toEqual([]);
  for (const [repository, image] of Object.entries(images))
    expect(target.manifest(`team/${repository}`, "1.0")?.digest).toBe(image.descriptor.digest);
});

/** Changes one byte of a file. */
async function flip(path: string, at: number): Promise<void> {
  const bytes = await readFile(path);
  bytes.writeUInt8(bytes.readUInt8(at) ^ 16, at);
  await writeFile(path, bytes);
}

/** The place behind a layer, in a volume: zeros that no digest covers. */
function gapIn(image: TestImage, layer: number): { readonly volume: number; readonly at: number } {
  const bytes = image.layers[layer]?.bytes ?? Buffer.alloc(0);
  const position = whole.indexOf(bytes) + bytes.byteLength;
  return { volume: Math.floor(position / mebibyte) + 1, at: position % mebibyte };
}

describe("verify", () => {
  type Change = (set: TempDir) => Promise<unknown>;
  const cases: readonly (readonly [string, Change, readonly RegExp[]])[] = [
    [
      "a volume that was cut off",
      async (set) =>
        await writeFile(set.join(file(3)), (await readFile(set.join(file(3)))).subarray(0, 1000)),
      [/bundle\.tar\.003 is damaged: it is 1000 bytes, expected 1048576/],
    ],
    [
      "damage at the front, which the lists have as well",
      async (set) => await flip(set.join(file(1)), 700),
      [/bundle\.tar\.001 is damaged; it holds all or part of/],
    ],
    [
      "damage in a tar header",
      async (set) => {
        const [volume = 0] = volumesOf(images.web, 0);
        const header = whole.indexOf(images.web.layers[0]?.bytes ?? "") - 512;
        await flip(set.join(file(volume)), (header + 4) % mebibyte);
      },
      [/bundle\.tar\.00\d is damaged; it holds all or part of/],
    ],
    [
      "damage between two contents",
      async (set) => {
        const { volume, at } = gapIn(images.web, 0);
        await flip(set.join(file(volume)), at);
      },
      [/bundle\.tar\.00\d is damaged; it holds all or part of/],
    ],
    [
      "damage in the last bytes",
      async (set) => await flip(set.join(file(count())), (whole.byteLength - 1) % mebibyte),
      [/bundle\.tar\.007 is damaged; /],
    ],
    [
      "all volumes but one missing",
      async (set) => {
        for (let volume = 1; volume <= count(); volume += 1)
          if (volume !== 5) for (const name of [file(volume), list(volume)]) await rm(set.join(name));
      },
      [
        /bundle\.tar\.005 is not complete: 6 problems/,
        /bundle\.tar\.001 is missing/,
        /bundle\.tar\.007 is missing/,
      ],
    ],
  ];
  test.each(cases)("tells of %s, and blames no other volume", async (_, change, messages) => {
    await using set = await volumeFolder();
    await change(set);
    const result = await mirror(set.path, "verify", messages.length > 1 ? file(5) : "bundle.tar");
    expect(result.code, result.stderr).toBe(4);
    for (const message of messages) expect(result.stderr).toMatch(message);
    expect(result.stderr.match(/volume \d of 7/g)).toHaveLength(messages.length > 1 ? 6 : 1);
  });

  test("tells of a volume of another bundle, and push does not read it", async () => {
    await using set = await volumeFolder();
    await using other = await tempDir();
    await using target = await startRegistry();
    const flags = ["--to", "bundle.tar", "--volume-size", "1MiB"];
    expect((await mirror(other.path, "pull", nameOf("big"), ...flags)).code).toBe(0);
    for (const name of [file(2), list(2)]) await copyFile(other.join(name), set.join(name));
    expect((await mirror(set.path, "verify", "bundle.tar")).stderr).toMatch(
      /bundle\.tar\.002 is of another bundle/,
    );
    const pushed = await mirror(set.path, "push", "bundle.tar", "--registry", target.host);
    expect(pushed.code, pushed.stderr).toBe(3);
    expect(pushed.stderr).toMatch(/^warning: bundle\.tar\.002 is of another bundle/m);
  });

  test("needs no list that is damaged or gone while the volumes are there", async () => {
    await using set = await volumeFolder();
    await flip(set.join(list(2)), 300);
    await rm(set.join(list(3)));
    expect((await mirror(set.path, "verify", "bundle.tar")).code).toBe(0);
    for (const name of await readdir(set.path)) if (name.endsWith(".sum")) await rm(set.join(name));
    expect((await mirror(set.path, "verify", "bundle.tar")).code).toBe(0);
    await flip(set.join(file(4)), 5000);
    expect((await mirror(set.path, "verify", "bundle.tar")).stderr).toMatch(/bundle\.tar\.004 is damaged/);
    await rm(set.join(file(4)));
    const result = await mirror(set.path, "verify", "bundle.tar");
    expect([result.code, result.stderr]).toEqual([
      4,
      expect.stringContaining("Cannot read bundle.tar: bundle.tar.004 is missing"),
    ]);
  });
});

test.each([
  ["in their order", (volumes: number[]) => volumes],
  ["the last first", (volumes: number[]) => volumes.toReversed()],
  ["the even ones first", (volumes: number[]) => volumes.toSorted((a, b) => (a % 2) - (b % 2))],
])("volumes are taken one after another as they arrive, each alone on its medium, %s", async (_, order) => {
  await using set = await volumeFolder();
  await using state = await tempDir();
  await using target = await startRegistry();
  const sent: string[] = [];
  const volumes = order(Array.from({ length: count() }, (_value, index) => index + 1));
  for (const volume of volumes) {
    await using medium = await tempDir();
    for (const name of [file(volume), list(volume)]) await copyFile(set.join(name), medium.join(name));
    target.resetLog();
    const env = { XDG_STATE_HOME: state.path };
    const args = ["push", file(volume), "--registry", target.host];
    const result = await runMirror(args, { cwd: medium.path, env });
    const isLast = volume === volumes.at(-1);
    expect([result.code, result.stderr]).toEqual([
      isLast ? 0 : 3,
      expect.stringMatching(
        isLast ? /^pushed 4 images/m : /^waiting .*\/team\/\w+:1\.0 for bundle\.tar\.\d/m,
      ),
    ]);
    sent.push(...uploads(target));
  }
  // Nothing was sent twice, and nothing is kept any more.
  expect(new Set(sent).size).toBe(sent.length);
  expect(await readdir(state.join("mirror/volumes"))).toEqual([]);
  for (const [repository, image] of Object.entries(images))
    expect(target.manifest(`team/${repository}`, "1.0")?.digest).toBe(image.descriptor.digest);
});

describe("a pull in volumes that is killed", () => {
  const hook = `
import { subscribe } from "node:diagnostics_channel";
let left = Number(process.env.KILL_AT);
subscribe("mirror:point", ({ name }) => {
  if (name === process.env.KILL_POINT && --left === 0) process.kill(process.pid, "SIGKILL");
});
`;

  test.each([
    ["blob:written", 5],
    ["commit:synced", 1],
    ["volumes:sum-named", 1],
    ["volumes:volume-named", 1],
    ["volumes:sum-named", 4],
    ["volumes:volume-named", 6],
    ["volumes:volume-named", 7],
    ["commit:renamed", 1],
    ["commit:journal-removed", 1],
  ])("at %s, time %i, goes on, with another set under its name or none", async (point, at) => {
    for (const earlier of [false, true]) {
      await using set = await tempDir();
      await writeFile(set.join("hook.mjs"), hook);
      if (earlier) {
        const old = [nameOf("api"), nameOf("big"), nameOf("job")];
        const flags = ["--to", "bundle.tar", "--volume-size", "1MiB"];
        expect((await mirror(set.path, "pull", ...old, ...flags)).code).toBe(0);
      }
      const env = {
        NODE_OPTIONS: `--import=${set.join("hook.mjs")}`,
        KILL_POINT: point,
        KILL_AT: `${at}`,
      };
      const args = ["pull", ...names(), "--to", "bundle.tar", "--volume-size", "1MiB"];
      const killed = await runMirror(args, { cwd: set.path, env });
      expect(killed.signal, killed.stderr).toBe("SIGKILL");
      source.resetLog();
      const again = await pull(set.path, "--volume-size", "1MiB");
      expect(again.code, again.stderr).toBe(0);
      const fetched = source.count("GET", /\/blobs\//);
      // The last notes of a journal may be missing: blobs that came just before the kill.
      expect(fetched).toBeLessThanOrEqual(point === "blob:written" ? 11 : 0);
      const { stdout } = await sh(set.path, "cat bundle.tar.*");
      expect(stdout.equals(whole)).toBe(true);
      await sh(set.path, "for sum in *.sum; do sha256sum --strict -c $sum || exit 1; done");
      expect((await readdir(set.path)).length).toBe(2 * count() + 1);
    }
  });
});
