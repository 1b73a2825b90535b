/** A folder for what is of use to a later run: only its user may look in, and nothing fails if it cannot be kept. */
import { randomBytes } from "node:crypto";
import { appendFile, chmod, mkdir, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { systemCode } from "../../errors.ts";

const privateFolder = 0o700;
const privateFile = 0o600;

/** Files by name. Errors are told once to `onFailure`, with the folder and the system's code. */
export class StateFolder {
  readonly path: string;
  readonly #onFailure: (path: string, code: string) => void;
  #made: Promise<void> | undefined;

  constructor(path: string, onFailure: (path: string, code: string) => void) {
    this.path = path;
    this.#onFailure = onFailure;
  }

  /** The path of a file. */
  file(name: string): string {
    return join(this.path, name);
  }

  /** Replaces a file by another text: whoever reads it finds the old one or the new one. False if that failed. */
  async replace(name: string, text: string): Promise<boolean> {
    const draft = this.file(`${name}.${randomBytes(4).toString("hex")}.tmp`);
    return await this.#attempt(async () => {
      try {
        await writeFile(draft, text, { mode: privateFile, flag: "wx" });
        await rename(draft, this.file(name));
      } catch (error) {
        await rm(draft, { force: true }).catch(() => undefined);
        throw error;
      }
    });
  }

  /** Adds to the end of a file, in one write. False if that failed. */
  async append(name: string, text: string): Promise<boolean> {
    return await this.#attempt(
      async () => await appendFile(this.file(name), text, { mode: privateFile, flag: "a" }),
    );
  }

  /** Removes a file, if it is there and can be removed. */
  async remove(name: string): Promise<void> {
    await rm(this.file(name), { force: true }).catch(() => undefined);
  }

  async #attempt(write: () => Promise<void>): Promise<boolean> {
    try {
      this.#made ??= this.#make();
      await this.#made;
      await write();
      return true;
    } catch (error) {
      // Somebody may have tidied up: the next one makes it anew.
      this.#made = undefined;
      this.#onFailure(this.path, systemCode(error) ?? "unknown error");
      return false;
    }
  }

  async #make(): Promise<void> {
    await mkdir(this.path, { recursive: true, mode: privateFolder });
    const { mode } = await stat(this.path);
    if ((mode & 0o077) !== 0) await chmod(this.path, privateFolder);
  }
}
