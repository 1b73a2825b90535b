/** Receipts: what a registry holds, as `mirror receipt` writes it, to be carried back to the connected side. */
import { open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { z } from "zod";
import { systemCode } from "../errors.ts";
import { Digest } from "../oci/digest.ts";
import { diskError } from "./disk.ts";
import { checkBundlePath, partPath, syncFolder } from "./part-place.ts";

const Sizes = z.record(Digest, z.number().int().nonnegative());
export const ReceiptRepository = z
  .strictObject({
    name: z.string().describe("Its full path in the registry."),
    tags: z.record(z.string(), Digest).describe("The digest behind each tag."),
    manifests: Sizes.describe("The size in bytes of each manifest and index that a tag leads to."),
    blobs: Sizes.describe("The size in bytes of each config and layer of these manifests."),
  })
  .describe("What one repository holds.");
export type ReceiptRepository = Readonly<z.infer<typeof ReceiptRepository>>;

export const Receipt = z
  .strictObject({
    kind: z.literal("mirror-receipt").describe("What this file is."),
    version: z.literal(1).describe("The version of this format."),
    registry: z
      .string()
      .describe("The registry, with the path in it that was looked at: HOST[:PORT][/PREFIX]."),
    repositories: z.array(ReceiptRepository).describe("The repositories, sorted by name."),
  })
  .meta({
    title: "Receipt of mirror",
    description: "What a registry holds, so that mirror pull --base can leave it out.",
  });
export type Receipt = Readonly<z.infer<typeof Receipt>>;

/** The JSON Schema of a receipt. */
export function receiptSchema(): object {
  return z.toJSONSchema(Receipt, { io: "input", target: "draft-7" });
}

/**
 * A receipt as text, repository by repository, so that none has to be held as a whole. Equal contents give equal
 * bytes: `JSON.stringify(receipt, undefined, 2)` and a newline.
 */
export async function* formatReceipt(
  registry: string,
  repositories: AsyncIterable<ReceiptRepository>,
): AsyncGenerator<string, void> {
  const head = JSON.stringify(
    { kind: "mirror-receipt", version: 1, registry, repositories: [] },
    undefined,
    2,
  );
  yield head.slice(0, head.lastIndexOf("]"));
  let between = "\n";
  for await (const repository of repositories) {
    yield `${between}${JSON.stringify(repository, undefined, 2).replaceAll(/^/gm, "    ")}`;
    between = ",\n";
  }
  yield between === "\n" ? "]\n}\n" : "\n  ]\n}\n";
}

/** Writes a file that is there with all of its text or not at all. Throws NOT_FOUND or DISK, or what the text throws. */
export async function writeWhole(path: string, text: AsyncIterable<string>): Promise<void> {
  const part = partPath(path);
  await checkBundlePath(path);
  try {
    // What an earlier run has left; a link may lead to anything.
    await rm(part, { force: true });
    const file = await open(part, "wx");
    try {
      for await (const piece of text) await file.writeFile(piece);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(part, path);
    await syncFolder(dirname(path));
  } catch (error) {
    await rm(part, { force: true });
    throw systemCode(error) === undefined ? error : diskError(`write ${path}`, error);
  }
}
