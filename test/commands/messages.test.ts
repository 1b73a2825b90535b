/** One clear message for each mistake: what could not be done, why, the way out, the right exit code, no stack. */
import { spawnSync } from "node:child_process";
import { mkdir, open, writeFile } from "node:fs/promises";
import { describe, expect, test } from "vitest";
import type { TestRegistry } from "../registry/registry.ts";
import { programPath, runMirror } from "../support/cli.ts";
import { makeImage, makeIndex, seed } from "../support/images.ts";
import { allTests } from "../support/lifetimes.ts";
import type { TempDir } from "../support/temp.ts";
import { startWorkplace } from "../support/workplace.ts";

let folder: TempDir;
let registry: TestRegistry;

allTests(startWorkplace, async (made) => {
  ({ folder, registry } = made);
  seed(registry, "team/app", "1.0", makeIndex([await makeImage()]));
  seed(registry, "other/app", "1.0", await makeImage({ seed: "other" }));
  await mkdir(folder.join("folder"));
  await writeFile(folder.join("bad.yaml"), "version: 1\nimages:\n  - image: a/b:1\n    platfroms: [x]\n");
  await writeFile(folder.join("bad.txt"), "nginx:1\nfoo bar\n");
  await writeFile(folder.join("ca.pem"), "not a certificate");
  const pulled = await runMirror(["pull", `${registry.host}/team/app:1.0`, "--to", "bundle.tar"], {
    cwd: folder.path,
  });
  expect(pulled.code, pulled.stderr).toBe(0);
});

/** Command line ({host} is the registry), exit code, error code, message, hint. */
type Mistake = readonly [string, number, string, string | RegExp, string | RegExp];

const mistakes: readonly Mistake[] = [
  ["pull --to x.tar --bogus", 2, "USAGE", "Nonexistent flag: --bogus", "mirror pull --help"],
  ["pull {host}/team/app:1.0", 2, "USAGE", "Missing --to", "mirror pull --help"],
  ["push bundle.tar", 2, "USAGE", "Missing --registry", "mirror push --help"],
  ["push --registry {host}", 2, "USAGE", /^Missing BUNDLE: bundle/, "mirror push --help"],
  ["push bundle.tar more --registry {host}", 2, "USAGE", "Unexpected argument: more", "mirror push --help"],
  ["verify", 2, "USAGE", /^Missing BUNDLE: bundle/, "mirror verify --help"],
  ["ls", 2, "USAGE", /^Missing PLACE: bundle, HOST/, "mirror ls --help"],
  ["inspect", 2, "USAGE", /^Missing TARGET: image/, "mirror inspect --help"],
  [
    "pull a:1 --to x.tar --concurrency 0",
    2,
    "USAGE",
    /^Parsing --concurrency: Expected/,
    "mirror pull --help",
  ],
  [
    "pull a:1 --to - --volume-size 4GB",
    2,
    "USAGE",
    "Cannot write volumes to standard output",
    "leave out --volume-size",
  ],
  ["pull a:1 --to x.tar --ca-file=", 2, "USAGE", "Cannot use --ca-file: it is empty", "check the variable"],
  ["pull -f  --to x.tar", 2, "USAGE", "Cannot use --file: it is empty", "check the variable"],
  ["verify ", 2, "USAGE", "Cannot use an argument: it is empty", "check the variable"],
  ["pull a:1 --to x.tar --volume-size 4gb", 2, "USAGE", /^Cannot read size "4gb"/, "--volume-size 4GB"],
  ["ls - --tag a/b:1", 1, "BUNDLE", "Cannot read standard input: nothing came", "the program that writes it"],
  ["pull --to x.tar", 2, "LIST", "Cannot read list manifests.yaml: there is no such file", "-f"],
  ["pull -f absent.txt --to x.tar", 2, "LIST", /^Cannot read list absent\.txt: /, "manifests.example.yaml"],
  [
    "pull -f bad.yaml --to x.tar",
    2,
    "LIST",
    'bad.yaml:4:5: "platfroms" is not a key of an image',
    "write platforms",
  ],
  [
    "pull -f bad.txt --to x.tar",
    2,
    "LIST",
    /^bad\.txt:2:1: expected one image reference a line/,
    "manifests.example",
  ],
  ["pull list.yaml --to x.tar", 2, "USAGE", /it looks like a list$/, "write -f list.yaml"],
  ["pull a:1 --platform amd64 --to x.tar", 2, "USAGE", /^Cannot read platform "amd64"/, "linux/amd64"],
  ["pull a:1:2 --to x.tar", 2, "REFERENCE", /a:1:2/, "mirror pull --help"],
  ["push bundle.tar --registry http://{host}", 2, "USAGE", /begins with http:/, "--plain-http {host}"],
  [
    "push bundle.tar --registry {host} --name {x}",
    2,
    "USAGE",
    /there is no \{x\}$/,
    "{registry} and {repository}",
  ],
  ["pull a:1 --ca-file ca.pem --to x.tar", 1, "TLS", /there is no certificate in it$/, "PEM"],
  [
    "pull a:1 --ca-file absent.pem --to x.tar",
    1,
    "TLS",
    /absent\.pem: there is no such file$/,
    "check the path",
  ],
  [
    "pull {host}/team/app:1.0 --to folder",
    1,
    "DISK",
    "Cannot write folder: it is a folder",
    "folder/bundle.tar",
  ],
  [
    "pull {host}/team/app:1.0 --to no/x.tar",
    1,
    "NOT_FOUND",
    "Cannot write no/x.tar: there is no folder no",
    "mkdir -p no",
  ],
  [
    "pull {host}/team/app:1.0 {host}/other/app:1.0 --name same --to x.tar",
    1,
    "CONFLICT",
    /each would be same:1\.0$/,
    "as:",
  ],
  [
    "push absent.tar --registry {host}",
    1,
    "NOT_FOUND",
    "Cannot read absent.tar: there is no such file or folder",
    "path",
  ],
  [
    "push folder --registry {host}",
    1,
    "BUNDLE",
    "Cannot read folder: it is a folder without an index.json, and so no OCI layout",
    "OCI layout",
  ],
  [
    "push bundle.tar --registry 127.0.0.1:1",
    1,
    "NETWORK",
    "Cannot connect to 127.0.0.1:1: the connection was refused",
    "port",
  ],
  ["push bundle.tar --registry none.invalid", 1, "NETWORK", /^Cannot connect to none\.invalid: /, "check"],
  ["verify absent.tar", 1, "NOT_FOUND", "Cannot read absent.tar: there is no such file or folder", "path"],
  ["ls {host}/no/such", 1, "NOT_FOUND", /has no such repository$/, "mirror ls {host}"],
  ["inspect {host}/team/app:9", 1, "NOT_FOUND", /has no such tag$/, "mirror ls {host}/team/app"],
  ["inspect bundle.tar a:1", 1, "NOT_FOUND", "Cannot find a:1 in bundle.tar", "mirror ls bundle.tar"],
];

const fill = (text: string): string => text.replaceAll("{host}", registry.host);

describe.each(mistakes)("%s", (line, exitCode, code, message, hint) => {
  const args = (): string[] => fill(line).split(" ");

  test("is one message with a hint, and no stack", async () => {
    const { code: exit, stdout, stderr } = await runMirror(args(), { cwd: folder.path });
    expect([exit, stdout]).toEqual([exitCode, ""]);
    const errors = [...stderr.matchAll(/^Error: (.*)$/gm)].map(([, text]) => text);
    expect(errors, stderr).toEqual([typeof message === "string" ? message : expect.stringMatching(message)]);
    expect(stderr).not.toMatch(/^ +at /m);
    const [hinted] = [...stderr.matchAll(/^ {2}hint: (.*)$/gm)].map(([, text]) => text);
    expect(hinted ?? "", stderr).toContain(fill(String(hint)));
  });

  test("is exactly one JSON object with --json", async () => {
    const { code: exit, stdout } = await runMirror([...args(), "--json"], { cwd: folder.path });
    expect(exit).toBe(exitCode);
    expect(JSON.parse(stdout)).toMatchObject({
      error: { code, message: typeof message === "string" ? message : expect.stringMatching(message) },
    });
  });
});

describe("an image that cannot be pulled", () => {
  test.each([
    ["{host}/team/app:9", "{host} has no such tag", "mirror ls {host}/team/app shows the tags"],
    ["127.0.0.1:1/app:1", "the connection was refused", "check the port"],
    ["none.invalid/app:1", /Cannot connect to none\.invalid: (?!none\.invalid)/, "check"],
  ])("is told once with its name: %s", async (name, message, hint) => {
    const result = await runMirror(["pull", fill(name), "--to", "x.tar"], { cwd: folder.path });
    expect(result.code).toBe(1);
    const lines = result.stderr.split("\n").filter((line) => line !== "" && !line.startsWith("warning:"));
    expect(lines, result.stderr).toHaveLength(2);
    expect(lines[0]).toMatch(new RegExp(`^failed ${fill(name)}: Cannot `));
    expect(lines[0]).toMatch(typeof message === "string" ? fill(message) : message);
    expect(lines[1]).toContain(fill(hint));
  });
});

test("an unknown command names the way to those that there are", async () => {
  const { code, stdout, stderr } = await runMirror(["pul"]);
  expect([code, stdout]).toEqual([2, ""]);
  expect(stderr).toMatch(/^Error: .*pul.*\n {2}hint: .*mirror --help/);
});

test("an unknown command is an object with --json, too", async () => {
  const { code, stdout } = await runMirror(["pul", "--json"]);
  expect(code).toBe(2);
  expect(JSON.parse(stdout)).toMatchObject({ error: { code: "USAGE", hint: expect.any(String) } });
});

test("a folder where a bundle is meant is not taken for a missing file", async () => {
  for (const command of ["ls", "inspect"]) {
    const { code, stderr } = await runMirror([command, "./folder"], { cwd: folder.path });
    expect([code, stderr]).toEqual([
      1,
      expect.stringMatching(
        /^Error: Cannot read \.\/folder: it is a folder without an index\.json, and so no OCI layout\n {2}hint: give it /,
      ),
    ]);
  }
});

test.skipIf(process.platform !== "linux")("output that cannot be written is an error, no crash", async () => {
  const full = await open("/dev/full", "w");
  try {
    const args = [programPath, "ls", folder.join("bundle.tar")];
    const { status, stderr } = spawnSync(process.execPath, args, {
      stdio: ["ignore", full.fd, "pipe"],
      encoding: "utf8",
    });
    expect([status, stderr]).toEqual([
      1,
      "Error: Cannot write the output: no space left on the disk\n  hint: make room, or write it elsewhere\n",
    ]);
  } finally {
    await full.close();
  }
});

test("DEBUG=1 shows the chain of causes with their stacks, down to the system's error", async () => {
  const { code, stderr } = await runMirror(["push", "bundle.tar", "--registry", "127.0.0.1:1"], {
    cwd: folder.path,
    env: { DEBUG: "1" },
  });
  expect(code).toBe(1);
  expect(stderr).toMatch(/^Error: Cannot connect to 127\.0\.0\.1:1: the connection was refused$/m);
  expect(stderr).toMatch(/^caused by: .*ECONNREFUSED/m);
  expect(stderr).toMatch(/^ +at /m);
});

test.each(["on", "banana"])(
  "a switch in a variable that is neither on nor off is refused: %s",
  async (value) => {
    const { code, stderr } = await runMirror(["ls", "bundle.tar"], { env: { MIRROR_QUIET: value } });
    expect([code, stderr]).toEqual([
      2,
      `Error: Cannot use MIRROR_QUIET: "${value}" is neither true nor false\n  hint: write MIRROR_QUIET=true or MIRROR_QUIET=false\n`,
    ]);
  },
);

test("DEBUG=0 is no wish to look for a fault", async () => {
  const { code, stderr } = await runMirror(["ls", registry.host], { env: { DEBUG: "0" } });
  expect(code, stderr).toBe(0);
  expect(stderr).not.toContain("debug:");
});

test("a working folder that has been removed is told as such", async () => {
  const args = ["-c", 'd=$(mktemp -d) && cd "$d" && rmdir "$d" && exec "$@"', "sh"];
  const { code, stderr } = await runMirror(["plan"], { under: ["sh", ...args] });
  expect(code).toBe(1);
  // Node warns of it as well.
  expect(stderr).toContain(
    "Error: Cannot find the working folder: it has been removed\n  hint: change to a folder that is there\n",
  );
});
