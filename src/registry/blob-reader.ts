/** Reads a blob from any offset on: closed ranges, and what to do where a registry takes none (protocol notes 5). */
import type { ByteStream, OpenOptions } from "../content/content.ts";
import { AppError } from "../errors.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import type { RegistryClient } from "./client.ts";
import { bodyStream, discard, singleHeader } from "./http.ts";

/**
 * GET of a blob, with a closed range where the offset is not 0 (some registries refuse open ranges). The bytes are
 * not verified. Throws as the client does.
 */
export async function openBlob(
  client: RegistryClient,
  repository: string,
  descriptor: Descriptor,
  options: OpenOptions = {},
): Promise<ByteStream> {
  const offset = options.offset ?? 0;
  const { digest, size } = descriptor;
  const what = `read blob ${digest} from ${client.registry}/${repository}`;
  const wanted = {
    method: "GET",
    path: `/v2/${repository}/blobs/${digest}`,
    what,
    scopes: [`repository:${repository}:pull`],
    signal: options.signal,
    blob: true,
    accept: [200, 206],
  } as const;
  if (offset === 0) return bodyStream(await client.request(wanted), what);
  const headers = { range: `bytes=${offset}-${size - 1}` };
  const answer = await client.request({ ...wanted, headers, accept: [200, 206, 416] });
  if (answer.status === 416) {
    // It takes no ranges (or not this one): the whole content will tell.
    discard(answer);
    return skipping(bodyStream(await client.request(wanted), what), offset);
  }
  if (answer.status === 200) return skipping(bodyStream(answer, what), offset);
  const range = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(singleHeader(answer, "content-range") ?? "");
  if (range?.[1] !== `${offset}` || (range[2] !== `${size}` && range[2] !== "*")) {
    discard(answer);
    throw new AppError("NETWORK", `Cannot ${what}: it answered with another range than the one asked for`);
  }
  return bodyStream(answer, what);
}

/** The answer to a range was the whole content: what came before the offset is read and dropped. */
async function* skipping(stream: ByteStream, bytes: number): AsyncGenerator<Uint8Array, void> {
  let left = bytes;
  for await (const chunk of stream) {
    if (left >= chunk.byteLength) left -= chunk.byteLength;
    else {
      yield left === 0 ? chunk : chunk.subarray(left);
      left = 0;
    }
  }
}
