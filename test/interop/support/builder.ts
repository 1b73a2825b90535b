/** What `docker build` and `buildah build` make an image of: a static busybox that prints one line. */
import { chmod, copyFile, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { rootTools } from "./root-tools.ts";

/** Absolute path of a statically linked busybox, or undefined where there is none: see {@link rootTools}. */
export async function busyboxTool(): Promise<{ readonly busybox: string } | undefined> {
  return await rootTools("busybox");
}

/** Makes a build context in `folder`, whose image prints `line` when it is run. */
export async function makeContext(folder: string, busybox: string, line: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  await copyFile(busybox, join(folder, "busybox"));
  await chmod(join(folder, "busybox"), 0o755);
  const command = JSON.stringify(["/bin/busybox", "echo", line]);
  await writeFile(
    join(folder, "Dockerfile"),
    `FROM scratch\nCOPY busybox /bin/busybox\nLABEL made-by=builder\nCMD ${command}\n`,
  );
}
