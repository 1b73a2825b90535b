/** What commands do about manifests that are not all there, not all free, or signed. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { digestOf } from "../../src/oci/digest.ts";
import { mediaTypes } from "../../src/oci/media-types.ts";
import { startRegistry, type TestRegistry } from "../registry/registry.ts";
import { type RunOptions, type RunResult, runMirror } from "../support/cli.ts";
import { makeArtifact, makeImage, makeIndex, seed } from "../support/images.ts";
import { type TempDir, tempDir } from "../support/temp.ts";

let folder: TempDir;
let source: TestRegistry;
let target: TestRegistry;
const amd64 = await makeImage();
const arm64 = await makeImage({ platform: "linux/arm64" });
const index = makeIndex([amd64, arm64]);
const foreign = Buffer.from("a layer of Windows");

beforeAll(async () => {
  folder = await tempDir();
  [source, target] = await Promise.all([startRegistry(), startRegistry()]);
});
afterAll(async () => {
  await Promise.all([source, target, folder].map((each) => each[Symbol.asyncDispose]()));
});

const mirror = async (args: readonly string[], options: RunOptions = {}): Promise<RunResult> =>
  await runMirror(args, { cwd: folder.path, ...options });

test("inspect shows what refers to an image, by tag or by the registry's account, and no control characters", async () => {
  const signature = makeArtifact({
    configType: mediaTypes.ociEmpty,
    config: "{}",
    files: [],
    artifactType: "application/x\u001b[2J",
    subject: amd64.descriptor,
  });
  seed(source, "team/signed", "1.0", amd64);
  seed(source, "team/signed", undefined, signature);
  const tag = `sha256-${amd64.descriptor.digest.slice(7)}.att`;
  source.putManifest("team/signed", tag, arm64.manifest, arm64.descriptor.mediaType);
  const fault = source.fault("referrers-api");
  const name = `${source.host}/team/signed:1.0`;
  const shown = await mirror(["inspect", name]);
  expect(shown.code, shown.stderr).toBe(0);
  expect(shown.stdout).toContain("referred to by 2 artifacts");
  expect(shown.stdout).toMatch(
    new RegExp(`referrer +${signature.descriptor.digest} +\\d+ B +application/x\\\\x1B`),
  );
  expect(shown.stdout).toMatch(
    new RegExp(`referrer +${arm64.descriptor.digest} +\\d+ B +cosign attestations`),
  );
  expect(shown.stdout).not.toContain("\u001b");
  const json = await mirror(["inspect", name, "--json"]);
  expect(JSON.parse(json.stdout)).toMatchObject({
    images: [
      {
        referrers: [
          { digest: signature.descriptor.digest, artifactType: "application/x\u001b[2J" },
          { digest: arm64.descriptor.digest, tag, size: arm64.manifest.byteLength },
        ],
      },
    ],
  });
  fault.remove();
});

test("inspect shows an image whose referrers it cannot have, with a warning", async () => {
  seed(source, "team/plain", "1.0", amd64);
  const fault = source.fault("status", { status: 418, match: { path: /referrers/ } });
  const shown = await mirror(["inspect", `${source.host}/team/plain:1.0`]);
  expect(shown.code, shown.stderr).toBe(0);
  expect(shown.stderr).toContain("Cannot list what refers to");
  expect(shown.stdout).toContain(amd64.descriptor.digest);
  fault.remove();
});

test("what a registry has lost fails an image; --allow-missing, or its variable, goes on without it", async () => {
  seed(source, "team/sparse", "1.0", index);
  source.deleteManifest("team/sparse", arm64.descriptor.digest);
  const name = `${source.host}/team/sparse:1.0`;
  const pull = ["pull", name, "--to", "sparse.tar"];
  const failed = await mirror(pull);
  expect(failed.code).toBe(1);
  expect(failed.stderr).toContain(`linux/arm64 (${arm64.descriptor.digest})`);
  expect(failed.stderr).toContain("--allow-missing");
  const planned = await mirror(["plan", name, "--allow-missing", "--json"]);
  expect(JSON.parse(planned.stdout)).toMatchObject({ images: [{ original: index.descriptor.digest }] });
  const pulled = await mirror([...pull, "--allow-missing"]);
  expect(pulled.code, pulled.stderr).toBe(0);
  expect(pulled.stderr).toContain("left out linux/arm64");
  expect((await mirror(["verify", "sparse.tar"])).code).toBe(0);
  const synced = await mirror(["sync", name, "--registry", target.host, "--json"], {
    env: { MIRROR_ALLOW_MISSING: "true" },
  });
  expect(synced.code, synced.stderr).toBe(0);
  const [image] = (JSON.parse(synced.stdout) as { images: readonly { digest: string }[] }).images;
  expect(target.manifest("team/sparse", "1.0")?.digest).toBe(image?.digest);
});

test("foreign layers come along with --include-foreign, from the registry to the bundle to the registry", async () => {
  const layer = {
    mediaType: "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    digest: digestOf(foreign),
    size: foreign.byteLength,
    urls: ["https://example.com/layer"],
  };
  const { config } = amd64;
  const document = {
    schemaVersion: 2,
    mediaType: mediaTypes.ociManifest,
    config: config.descriptor,
    layers: [layer],
  };
  const bytes = Buffer.from(JSON.stringify(document));
  source.putBlob("team/windows", config.bytes);
  source.putBlob("team/windows", foreign);
  source.putManifest("team/windows", "1.0", bytes, mediaTypes.ociManifest);
  const name = `${source.host}/team/windows:1.0`;
  const pulled = await mirror(["pull", name, "--to", "windows.tar", "--include-foreign"]);
  expect(pulled.code, pulled.stderr).toBe(0);
  expect(pulled.stderr).not.toContain("left out");
  expect((await mirror(["verify", "windows.tar"])).code).toBe(0);
  // This one allows URLs, as distribution does where it is told to.
  const fault = target.customFault("allows URLs", {
    methods: ["PUT"],
    path: /manifests\/1\.0$/,
    intercept: (_request, { content }) => {
      content.putManifest("team/windows", "1.0", bytes, mediaTypes.ociManifest);
      return { status: 201, headers: { "docker-content-digest": digestOf(bytes) } };
    },
  });
  const pushed = await mirror(["push", "windows.tar", "--registry", target.host]);
  expect(pushed.code, pushed.stderr).toBe(0);
  expect(target.blob("team/windows", digestOf(foreign))).toEqual(foreign);
  fault.remove();
  const without = await mirror(["pull", name, "--to", "without.tar"]);
  expect(without.code, without.stderr).toBe(0);
  expect(without.stderr).toContain("--include-foreign");
});
