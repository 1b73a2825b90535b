/**
 * Upload sessions on the disk, so that another process can go on with what one has left behind. Each upload has a file
 * of its own, which appears with the first offset that the registry acknowledges. A session is taken over by giving its
 * file another name: that works for one process only, and no process ever uses a name again.
 */
import { createHash, randomBytes } from "node:crypto";
import { readdir, readFile, rename, stat } from "node:fs/promises";
import { z } from "zod";
import { isAlive, Owner, thisProcess } from "../../content/owner.ts";
import { reached } from "../../content/points.ts";
import type { Descriptor } from "../../oci/descriptor.ts";
import { Digest } from "../../oci/digest.ts";
import type { UploadSession } from "./state.ts";
import type { StateFolder } from "./state-folder.ts";

/**
 * Registries forget sessions after a week at most. A record that seems to come from the future is from before the clock
 * was set back; so far off, nobody knows its age. Milliseconds.
 */
const keptMs = 7 * 24 * 3600 * 1000;
/** What a living process writes beside its records is gone after milliseconds. */
const draftMs = 3600 * 1000;
/** A record, or the draft of one, which is as good if it is whole: then it was about to replace the record. */
const fileName = /^([0-9a-f]{32})\.[0-9a-f]{16}\.json(\.[0-9a-f]{8}\.tmp)?$/;
/** A record that was being taken over. */
const takenName = /^[0-9a-f]{32}\.[0-9a-f]{16}\.taken$/;
const maxLocationCharacters = 16 * 1024;

type Left = z.infer<typeof Left>;
const Left = z.strictObject({
  version: z.literal(1),
  registry: z.string(),
  repository: z.string(),
  digest: Digest,
  size: z.number().int().positive(),
  location: z.string().min(1).max(maxLocationCharacters),
  offset: z.number().int().positive(),
  /** When it was acknowledged, in milliseconds since 1970. */
  noted: z.number(),
  owner: Owner,
});

/** What an upload is found by. */
interface Target {
  readonly registry: string;
  readonly repository: string;
  readonly descriptor: Descriptor;
}

/** The record of one upload. */
export class UploadRecord {
  readonly #folder: StateFolder;
  readonly #target: Target;
  readonly #name: string;
  #written = false;

  constructor(folder: StateFolder, target: Target) {
    this.#folder = folder;
    this.#target = target;
    const { registry, repository, descriptor } = target;
    this.#name = `${keyOf(registry, repository, descriptor.digest)}.${randomBytes(8).toString("hex")}`;
  }

  /** Writes down where a session stands: what the registry has acknowledged, and nothing more. */
  async note({ location, offset }: UploadSession): Promise<void> {
    const { registry, repository, descriptor } = this.#target;
    const { digest, size } = descriptor;
    const where = { version: 1 as const, registry, repository, digest, size, location, offset };
    const left = { ...where, noted: Date.now(), owner: thisProcess() } satisfies Left;
    this.#written = true;
    if (await this.#folder.replace(`${this.#name}.json`, JSON.stringify(left))) reached("upload:noted");
  }

  /** Makes what another process has left ours. False if somebody else has it. */
  async takeOver(name: string, session: UploadSession): Promise<boolean> {
    const taken = `${this.#name}.taken`;
    try {
      await rename(this.#folder.file(name), this.#folder.file(taken));
    } catch {
      return false;
    }
    await this.note(session);
    await this.#folder.remove(taken);
    reached("upload:taken");
    return true;
  }

  /** The session is over: the blob is stored, or nobody can go on with it. */
  async drop(): Promise<void> {
    if (!this.#written) return;
    this.#written = false;
    await this.#folder.remove(`${this.#name}.json`);
  }
}

/** The records of uploads to one registry. */
export class SessionNotes {
  readonly #folder: StateFolder;
  readonly #registry: string;
  #left: Promise<Map<string, Map<string, Left>>> | undefined;

  constructor(folder: StateFolder, registry: string) {
    this.#folder = folder;
    this.#registry = registry;
  }

  /** The record of an upload that begins; nothing is written yet. */
  record(repository: string, descriptor: Descriptor): UploadRecord {
    return new UploadRecord(this.#folder, { registry: this.#registry, repository, descriptor });
  }

  /**
   * Takes over the session that a process which has ended left of this upload, with its record; undefined if there is
   * none. Of several the one that got furthest counts.
   */
  async take(
    repository: string,
    descriptor: Descriptor,
  ): Promise<{ readonly record: UploadRecord; readonly session: UploadSession } | undefined> {
    this.#left ??= this.#read();
    const all = await this.#left;
    const key = keyOf(this.#registry, repository, descriptor.digest);
    const left = [...(all.get(key) ?? [])].sort(([, a], [, b]) => b.offset - a.offset);
    all.delete(key);
    let best: { readonly record: UploadRecord; readonly session: UploadSession } | undefined;
    for (const [name, { location, offset, size }] of left) {
      if (best !== undefined || size !== descriptor.size) {
        await this.#folder.remove(name);
        continue;
      }
      const record = this.record(repository, descriptor);
      const session = { location, offset };
      if (await record.takeOver(name, session)) best = { record, session };
    }
    return best;
  }

  /** What dead processes have left, by key and file. What is of no use to anybody any more is removed. */
  async #read(): Promise<Map<string, Map<string, Left>>> {
    const found = new Map<string, Map<string, Left>>();
    for (const name of await readdir(this.#folder.path).catch(() => [])) {
      const [, key, draft] = fileName.exec(name) ?? [];
      if (key === undefined) {
        if (takenName.test(name) && (await this.#isOld(name))) await this.#folder.remove(name);
        continue;
      }
      const left = await readFile(this.#folder.file(name), "utf8").then(parse, (error: unknown) => error);
      if (!isRecord(left) || keyOf(left.registry, left.repository, left.digest) !== key) {
        if (draft === undefined || (await this.#isOld(name))) await this.#folder.remove(name);
        continue;
      }
      // Whatever the clock says, a process that is there has its session.
      if (isAlive(left.owner)) continue;
      if (Math.abs(Date.now() - left.noted) > keptMs || left.offset > left.size) {
        await this.#folder.remove(name);
        continue;
      }
      found.set(key, (found.get(key) ?? new Map<string, Left>()).set(name, left));
    }
    return found;
  }

  /** Whoever was writing or taking this has ended in the middle of that. */
  async #isOld(name: string): Promise<boolean> {
    const found = await stat(this.#folder.file(name)).catch(() => undefined);
    return found !== undefined && Math.abs(Date.now() - found.mtimeMs) > draftMs;
  }
}

function parse(text: string): Left | undefined {
  try {
    return Left.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}

function isRecord(value: unknown): value is Left {
  return typeof value === "object" && value !== null && !(value instanceof Error);
}

function keyOf(registry: string, repository: string, digest: string): string {
  return createHash("sha256").update(`${registry}\n${repository}\n${digest}`).digest("hex").slice(0, 32);
}
