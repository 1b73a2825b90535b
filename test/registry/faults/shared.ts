/** What the tables of faults share: the paths that they concern, and replies that they change. */
import { ConnectionCut, lengthOf, type Reply } from "../http.ts";

export const everything = /^\//;
export const blobs = /^\/(?:v2|storage)\/.+\/blobs\/[a-z0-9]+:[0-9a-f]+$/;
export const registryBlobs = /^\/v2\/(.+)\/blobs\/([a-z0-9]+:[0-9a-f]+)$/;
export const manifests = /^\/v2\/(.+)\/manifests\/([^/]+)$/;
export const uploads = /^\/v2\/.+\/blobs\/uploads\/[^/]*$/;
export const session = /^\/v2\/.+\/blobs\/uploads\/([^/]+)$/;

export const tooLarge: Reply = {
  status: 413,
  headers: { "content-type": "text/html", connection: "close" },
  body: [Buffer.from("<html><head><title>413 Request Entity Too Large</title></head></html>\r\n")],
};

export function isContent(reply: Reply): boolean {
  return (reply.status === 200 || reply.status === 206) && lengthOf(reply.body) > 0;
}

export function flipped(reply: Reply, at = Math.floor(lengthOf(reply.body) / 2)): Reply {
  // The pieces belong to the store, so only a copy may be changed.
  const bytes = Buffer.concat(reply.body ?? []);
  const place = Math.min(at, bytes.length - 1);
  bytes.writeUInt8(bytes.readUInt8(place) ^ 1, place);
  return { ...reply, body: [bytes] };
}

export async function* cutAfter(body: AsyncIterable<Uint8Array>, bytes: number): AsyncGenerator<Uint8Array> {
  let left = bytes;
  for await (const chunk of body) {
    if (chunk.byteLength > left) {
      yield chunk.subarray(0, left);
      throw new ConnectionCut();
    }
    left -= chunk.byteLength;
    yield chunk;
  }
}

export async function* iterated(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}
