/** The harness itself: real builders and runtimes, as the other interop tests rely on them. */
import { access } from "node:fs/promises";
import { describe, expect, test } from "vitest";
import { tempDir } from "../support/temp.ts";
import { busyboxTool, makeContext } from "./support/builder.ts";
import { containerdTools, startContainerd } from "./support/containerd.ts";
import { dockerTools, startDockerd } from "./support/dockerd.ts";
import { makePodman, podmanTools } from "./support/podman.ts";

const docker = await dockerTools();
const podman = await podmanTools();
const containerd = await containerdTools();
const busybox = (await busyboxTool())?.busybox;
const name = "example.com/hello:1.0";
const ok = expect.objectContaining({ code: 0 });

describe.skipIf(busybox === undefined)("what a builder made prints its line", () => {
  test.skipIf(docker === undefined)("with dockerd, which is gone afterwards", async () => {
    if (docker === undefined || busybox === undefined) throw new Error("skipped above");
    await using folder = await tempDir();
    await makeContext(folder.path, busybox, "hello from docker");
    let socket = "";
    {
      await using daemon = await startDockerd(docker);
      socket = daemon.host.replace("unix://", "");
      const built = await daemon.docker(["build", "--tag", name, folder.path]);
      expect(built, built.stderr).toEqual(ok);
      const printed = await daemon.docker(["run", "--rm", "--network", "none", name]);
      expect(printed).toEqual({ code: 0, stdout: "hello from docker\n", stderr: "" });
      const images = await daemon.docker(["images", "--quiet"]);
      expect(images.stdout.trim().split("\n")).toHaveLength(1);
    }
    await expect(access(socket)).rejects.toThrow("ENOENT");
  });

  test.skipIf(podman === undefined)("with buildah and podman, of one storage", async () => {
    if (podman === undefined || busybox === undefined) throw new Error("skipped above");
    await using folder = await tempDir();
    await makeContext(folder.path, busybox, "hello from buildah");
    await using storage = await makePodman(podman);
    const built = await storage.buildah(["build", "--tag", name, folder.path]);
    expect(built, built.stderr).toEqual(ok);
    const printed = await storage.podman(["run", "--rm", "--network", "none", name]);
    expect(printed).toEqual({ code: 0, stdout: "hello from buildah\n", stderr: "" });
  });

  test.skipIf(docker === undefined || containerd === undefined)("with containerd", async () => {
    if (docker === undefined || containerd === undefined || busybox === undefined)
      throw new Error("skipped above");
    await using folder = await tempDir();
    await makeContext(folder.join("context"), busybox, "hello from containerd");
    await using builder = await startDockerd(docker);
    expect(await builder.docker(["build", "--tag", name, folder.join("context")])).toEqual(ok);
    const archive = folder.join("hello.tar");
    expect(await builder.docker(["save", "--output", archive, name])).toEqual(ok);
    await using daemon = await startContainerd(containerd);
    const imported = await daemon.ctr(["images", "import", archive]);
    expect(imported, imported.stderr).toEqual(ok);
    const printed = await daemon.ctr(["run", "--rm", name, "hello"]);
    expect(printed).toEqual({ code: 0, stdout: "hello from containerd\n", stderr: "" });
  });
});
