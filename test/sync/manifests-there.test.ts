/** An image that is copied again after a part of it has changed: what the target has of it is not sent again. */
import { beforeAll, expect, test } from "vitest";
import { mediaTypes } from "../../src/oci/media-types.ts";
import { startRegistry, type TestRegistry } from "../registry/registry.ts";
import { incompleteTags } from "../support/graph.ts";
import {
  makeArtifact,
  makeImage,
  makeIndex,
  seed,
  type TestImage,
  type TestIndex,
} from "../support/images.ts";
import { copyTo, type Run, wanted } from "../support/pipeline.ts";

let amd: TestImage;
let arm: TestImage;
let ppc: TestImage;
/** Two platforms; one of them new; the same two under another root. */
let first: TestIndex;
let second: TestIndex;
let third: TestIndex;

beforeAll(async () => {
  const make = async (platform: string, seed: string): Promise<TestImage> =>
    await makeImage({ platform, seed, layers: [2000, 3000] });
  amd = await make("linux/amd64", "one");
  arm = await make("linux/arm64", "one");
  ppc = await make("linux/ppc64le", "one");
  first = makeIndex([amd, arm]);
  second = makeIndex([amd, ppc]);
  third = makeIndex([amd, arm], { seed: "third" });
});

const errors = ({ outcomes, failures }: Run): unknown[] => [
  ...outcomes.flatMap(({ error }) => error ?? []),
  ...failures.map(({ error }) => error),
];
/** The requests for manifests, in short: `PUT 1.0`, `HEAD <name of the child>`. */
function asked(target: TestRegistry): readonly string[] {
  const names = new Map<string, string>(
    Object.entries({ amd, arm, ppc, first, second, third }).map(([name, { descriptor }]) => [
      descriptor.digest,
      name,
    ]),
  );
  return target.requests
    .filter(({ path }) => path.includes("/manifests/"))
    .map(({ method, path }) => {
      const reference = path.slice(path.lastIndexOf("/") + 1);
      return `${method} ${names.get(reference) ?? reference}`;
    })
    .sort();
}

async function copied(
  content: TestIndex | TestImage,
  target: TestRegistry,
  as = "team/app:1.0",
): Promise<Run> {
  await using source = await startRegistry();
  seed(source, "team/app", "1.0", content);
  target.resetLog();
  const run = await copyTo(target, [wanted(source, "team/app:1.0", { as })]);
  expect(errors(run)).toEqual([]);
  expect(incompleteTags(target)).toEqual([]);
  return run;
}

test("the first copy asks for nothing but the tag", async () => {
  await using target = await startRegistry();
  await copied(first, target);
  expect(asked(target)).toEqual(["HEAD 1.0", "PUT 1.0", "PUT amd", "PUT arm"]);
});

test("a platform that has changed is sent, the other is not", async () => {
  await using target = await startRegistry();
  await copied(first, target);
  const run = await copied(second, target);
  expect(asked(target)).toEqual(["HEAD 1.0", "HEAD amd", "PUT 1.0", "PUT ppc"]);
  expect(run.events).toContainEqual({ type: "blob-skipped", size: amd.descriptor.size, reason: "exists" });
});

test("a new root over the same images costs a question for each", async () => {
  await using target = await startRegistry();
  await copied(first, target);
  await copied(third, target);
  expect(asked(target)).toEqual(["HEAD 1.0", "HEAD amd", "HEAD arm", "PUT 1.0"]);
});

test("another tag is set, and nothing else", async () => {
  await using target = await startRegistry();
  await copied(first, target);
  await copied(first, target, "team/app:2.0");
  expect(asked(target)).toEqual(["HEAD 2.0", "HEAD amd", "HEAD arm", "PUT 2.0"]);
});

test("an index inside of one is not sent again either, unless a part of it was", async () => {
  await using target = await startRegistry();
  await copied(makeIndex([first, ppc]), target);
  expect(asked(target)).toEqual(["HEAD 1.0", "PUT 1.0", "PUT amd", "PUT arm", "PUT first", "PUT ppc"]);
  await copied(makeIndex([first, ppc], { seed: "again" }), target);
  expect(asked(target)).toEqual(["HEAD 1.0", "HEAD amd", "HEAD arm", "HEAD first", "HEAD ppc", "PUT 1.0"]);
  await copied(makeIndex([second, ppc], { seed: "more" }), target);
  expect(asked(target)).toEqual(["HEAD 1.0", "HEAD amd", "HEAD ppc", "HEAD second", "PUT 1.0", "PUT second"]);
});

test("a manifest that the target has lost is sent, though all of its blobs are there", async () => {
  await using target = await startRegistry();
  await copied(first, target);
  target.deleteManifest("team/app", arm.descriptor.digest);
  await copied(third, target);
  expect(asked(target)).toEqual(["HEAD 1.0", "HEAD amd", "HEAD arm", "PUT 1.0", "PUT arm"]);
});

test("a second repository gets its own with no question, where its blobs were mounted", async () => {
  await using source = await startRegistry();
  await using target = await startRegistry();
  const names = ["team/app:1.0", "other/app:1.0"];
  for (const name of ["team/app", "other/app"]) seed(source, name, "1.0", first);
  expect(
    errors(
      await copyTo(
        target,
        names.map((name) => wanted(source, name)),
      ),
    ),
  ).toEqual([]);
  expect(target.requests.filter(({ url, status }) => url.includes("mount=") && status === 201)).toHaveLength(
    4,
  );
  const once = ["HEAD 1.0", "PUT 1.0", "PUT amd", "PUT arm"];
  expect(asked(target)).toEqual([...once, ...once].sort());
});

test("who may not look for a manifest writes it", async () => {
  await using target = await startRegistry();
  await copied(first, target);
  target.fault("status", { status: 403, match: { method: "HEAD", path: /manifests\/sha256:/ } });
  await copied(third, target);
  expect(asked(target).filter((request) => request.startsWith("PUT"))).toEqual([
    "PUT 1.0",
    "PUT amd",
    "PUT arm",
  ]);
});

test("a registry that only says that it has a child gets it when it refuses the index", async () => {
  await using target = await startRegistry();
  await copied(first, target);
  target.deleteManifest("team/app", arm.descriptor.digest);
  target.customFault(
    "it has it, it says",
    {
      methods: ["HEAD"],
      path: new RegExp(`/manifests/${arm.descriptor.digest}$`),
      intercept: () => ({
        status: 200,
        headers: {
          "content-type": arm.descriptor.mediaType,
          "content-length": `${arm.descriptor.size}`,
          "docker-content-digest": arm.descriptor.digest,
        },
      }),
    },
    { times: 1 },
  );
  await copied(third, target);
  expect(asked(target).filter((request) => request === "PUT arm")).toHaveLength(1);
});

test("what hangs on a subject is recorded again, since the run before may have ended in between", async () => {
  await using target = await startRegistry();
  const signature = makeArtifact({
    configType: mediaTypes.ociConfig,
    config: "{}",
    files: [{ mediaType: "text/plain", bytes: Buffer.from("signed") }],
    subject: amd.descriptor,
  });
  await copied(makeIndex([amd, signature]), target);
  const tag = amd.descriptor.digest.replace(":", "-");
  expect(target.tags("team/app")).toContain(tag);
  const record = target.manifest("team/app", tag);
  target.deleteManifest("team/app", record?.digest ?? "");
  expect(target.tags("team/app")).not.toContain(tag);
  await copied(makeIndex([amd, signature], { seed: "again" }), target);
  expect(target.tags("team/app")).toContain(tag);
});
