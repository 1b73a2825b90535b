/** What `ls` and `inspect` are pointed at: a bundle on the disk, a registry, one of its repositories, or an image. */
import { stat } from "node:fs/promises";
import { isVolumeSet } from "../bundle/volumes/volume-set.ts";
import { AppError } from "../errors.ts";
import { isRegistryHost, isRepository, parseReference, type Reference } from "../oci/reference.ts";
import { hostPart, quoted, withoutLogin } from "../oci/shown.ts";
import { pipeName } from "./bundle-path.ts";

export type Place =
  | { readonly kind: "bundle"; readonly path: string }
  | { readonly kind: "registry"; readonly host: string }
  | { readonly kind: "repository"; readonly host: string; readonly repository: string };

/**
 * Tells what `ls` was given: a file that exists, `HOST[:PORT]`, or `HOST/REPOSITORY`. Throws NOT_FOUND for what
 * looks like a file and is none, USAGE for what is nothing of these.
 */
export async function findPlace(text: string): Promise<Place> {
  if (await isBundle(text)) return { kind: "bundle", path: text };
  const slash = text.indexOf("/");
  if (slash < 0 && isRegistryHost(text)) return { kind: "registry", host: text };
  const host = text.slice(0, slash);
  const repository = text.slice(slash + 1).replace(/\/+$/, "");
  if (slash > 0 && repository === "" && isRegistryHost(host)) return { kind: "registry", host };
  if (slash > 0 && isRegistryHost(host) && isRepository(repository))
    return { kind: "repository", host, repository };
  throw new AppError(
    "USAGE",
    `Cannot list ${quoted(text)}: it is neither a bundle nor a registry nor a repository`,
    {
      hint: "write bundle.tar, HOST[:PORT] or HOST[:PORT]/REPOSITORY",
    },
  );
}

/** Tells whether `inspect` was given a bundle or an image of a registry. */
export async function findImage(
  text: string,
): Promise<
  | { readonly kind: "bundle"; readonly path: string }
  | { readonly kind: "image"; readonly reference: Reference }
> {
  if (await isBundle(text)) return { kind: "bundle", path: text };
  // `10.0.0.1:32000` is an image of Docker Hub by the grammar of references, and never what was meant.
  if (/^(?:localhost|[^/]*\.[^/]*|\[[^/]*\]):\d+\/?$/.test(text)) {
    throw new AppError("USAGE", `Cannot inspect ${withoutLogin(text)}: it is a registry, not an image`, {
      hint: `mirror ls ${hostPart(text)} shows its images`,
    });
  }
  return { kind: "image", reference: parseReference(text) };
}

/** Standard input is one. A folder is one if it holds an OCI layout, or where it cannot be anything else: whoever opens it says what it is. */
async function isBundle(path: string): Promise<boolean> {
  if (path === pipeName) return true;
  const found = await stat(path).catch(() => undefined);
  if (found === undefined && (await isVolumeSet(path))) return true;
  const looksLikeFile = /^[./]|\.(?:tar(?:\.gz|\.zst)?|tgz|tzst)$/.test(path);
  if (found?.isFile() === true || (found !== undefined && looksLikeFile)) return true;
  if (
    found?.isDirectory() === true &&
    (await stat(`${path}/index.json`).catch(() => undefined)) !== undefined
  )
    return true;
  if (!looksLikeFile) return false;
  throw new AppError("NOT_FOUND", `Cannot read ${path}: there is no such file`, { hint: "check the path" });
}
