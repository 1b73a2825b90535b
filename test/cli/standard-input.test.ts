/** Standard input is read where it is asked for, and nowhere else. */
import { expect, test } from "vitest";
import { startRegistry } from "../registry/registry.ts";
import { runMirror } from "../support/cli.ts";
import { makeImage, seed } from "../support/images.ts";
import { tempDir } from "../support/temp.ts";

test("--file - reads the list from it", async () => {
  await using registry = await startRegistry();
  await using folder = await tempDir();
  seed(registry, "team/app", "1.0", await makeImage());
  const to = folder.join("bundle.tar");
  const stdin = `version: 1\nimages:\n  - ${registry.host}/team/app:1.0\n`;
  const pulled = await runMirror(["pull", "--file", "-", "--to", to, "--json"], { stdin });
  expect(pulled, pulled.stderr).toMatchObject({ code: 0 });
  expect(JSON.parse(pulled.stdout)).toMatchObject({ images: [{ image: `${registry.host}/team/app:1.0` }] });
});

test.each(["verify", "ls", "inspect", "push --registry 127.0.0.1:1"])(
  "%s does not take its missing argument from it",
  async (command) => {
    const result = await runMirror(command.split(" "), { stdin: "bundle.tar\n" });
    expect(result, result.stderr).toMatchObject({ code: 2, stdout: "" });
    expect(result.stderr).toContain("Missing ");
  },
);
