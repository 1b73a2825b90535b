/** Bytes at hand as a stream. */

/** Gives the bytes as one chunk; none if there are no bytes. */
export async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void> {
  if (bytes.byteLength > 0) yield bytes;
}
