/** Blobs: HEAD, GET with one range, DELETE. */
import { isDigest } from "../../src/oci/digest.ts";
import { type RegistryContent, type StoredBlob, sliceBlob } from "./content.ts";
import { methodNotAllowed, RegistryError } from "./errors.ts";
import { header, type RegistryRequest, type Reply } from "./http.ts";

/** Answers a request for one blob of a repository. Throws BLOB_UNKNOWN and DIGEST_INVALID. */
export function answerBlob(
  request: RegistryRequest,
  content: RegistryContent,
  target: { readonly repository: string; readonly digest: string },
): Reply {
  if (!isDigest(target.digest)) throw new RegistryError("DIGEST_INVALID", { digest: target.digest });
  const blob = content.findBlob(target.repository, target.digest);
  switch (request.method) {
    case "GET":
    case "HEAD":
      if (blob === undefined) throw new RegistryError("BLOB_UNKNOWN", { digest: target.digest });
      return blobReply(blob, header(request, "range"));
    case "DELETE":
      if (!content.deleteBlob(target.repository, target.digest)) {
        throw new RegistryError("BLOB_UNKNOWN", { digest: target.digest });
      }
      return { status: 202 };
    default:
      return methodNotAllowed("DELETE", "GET", "HEAD");
  }
}

/** The blob, or the range of it that was asked for. Several ranges at once are answered with the whole. */
function blobReply(blob: StoredBlob, range: string | undefined): Reply {
  const headers = {
    "docker-content-digest": blob.digest,
    etag: `"${blob.digest}"`,
    "cache-control": "max-age=31536000",
  };
  const found = { ...headers, "content-type": "application/octet-stream", "accept-ranges": "bytes" };
  if (range === undefined || range.includes(","))
    return { status: 200, headers: found, body: sliceBlob(blob) };
  const wanted = parseRange(range, blob.size);
  if (typeof wanted === "string") {
    const total = wanted === "malformed" ? {} : { "content-range": `bytes */${blob.size}` };
    // distribution 2.8 promises the whole blob's length here and sends nothing: whoever reads this body waits.
    const promised = { "content-type": "text/plain; charset=utf-8", "content-length": `${blob.size}` };
    return { status: 416, headers: { ...headers, ...total, ...promised } };
  }
  const [start, end] = wanted;
  return {
    status: 206,
    headers: { ...found, "content-range": `bytes ${start}-${end - 1}/${blob.size}` },
    body: sliceBlob(blob, start, end),
  };
}

/** Start and end (exclusive) of a single range. */
function parseRange(text: string, size: number): readonly [number, number] | "beyond" | "malformed" {
  const match = /^bytes=(\d*)-(\d*)$/.exec(text);
  if (match === null) return "malformed";
  const [, from = "", to = ""] = match;
  if (from === "") return Number(to) === 0 ? "malformed" : [Math.max(size - Number(to), 0), size];
  const start = Number(from);
  if (to !== "" && Number(to) < start) return "malformed";
  return start >= size ? "beyond" : [start, to === "" ? size : Math.min(Number(to) + 1, size)];
}
