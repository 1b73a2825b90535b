/** Uploads: the sessions of a test registry and the requests that drive them. */
import { createHash, createHmac, type Hash, randomBytes, randomUUID } from "node:crypto";
import { type Digest, isDigest } from "../../src/oci/digest.ts";
import { digestOfChunks, type RegistryContent } from "./content.ts";
import { methodNotAllowed, RegistryError } from "./errors.ts";
import { header, type RegistryRequest, type Reply } from "./http.ts";

/** Which distribution the registry behaves like; where they differ it is in uploads, lists and deletes by tag. */
export type Dialect = "2.8" | "3";

interface Session {
  readonly id: string;
  readonly repository: string;
  readonly chunks: Uint8Array[];
  readonly sha256: Hash;
  size: number;
}

type UploadState = Pick<Session, "id" | "repository" | "size">;

/** The open uploads of a registry. */
export class Uploads {
  readonly #sessions = new Map<string, Session>();
  readonly #secret = randomBytes(32);

  /** Number of open uploads. */
  get size(): number {
    return this.#sessions.size;
  }

  start(repository: string): Session {
    const session = { id: randomUUID(), repository, chunks: [], sha256: createHash("sha256"), size: 0 };
    this.#sessions.set(session.id, session);
    return session;
  }

  /** The session of a request, checked as the dialect does it. Throws BLOB_UPLOAD_UNKNOWN and BLOB_UPLOAD_INVALID. */
  find(request: RegistryRequest, target: UploadTarget, dialect: Dialect): Session {
    const session = this.#sessions.get(target.id);
    const state = this.#readState(request.query.get("_state"));
    // 3 finds a session by its id alone, 2.8 wants the state of the last answer, and with it the right offset.
    if (dialect === "2.8" && (state?.id !== target.id || state.repository !== target.repository)) {
      throw new RegistryError("BLOB_UPLOAD_INVALID");
    }
    if (session?.repository !== target.repository) throw new RegistryError("BLOB_UPLOAD_UNKNOWN");
    if (dialect === "2.8" && state?.size !== session.size) throw new RegistryError("BLOB_UPLOAD_INVALID");
    return session;
  }

  /** Adds bytes to a session without an answer of its own; gives the headers that tell of it. */
  append(id: string, bytes: Uint8Array, base: string): Readonly<Record<string, string>> {
    const session = this.#sessions.get(id);
    if (session === undefined) return {};
    session.chunks.push(bytes);
    session.sha256.update(bytes);
    session.size += bytes.byteLength;
    return { location: this.location(session, base), range: `0-${Math.max(session.size - 1, 0)}` };
  }

  end(id: string): void {
    this.#sessions.delete(id);
  }

  /** Ends every session, as a restart does. */
  forget(): void {
    this.#sessions.clear();
  }

  /** Where the next request of a session goes. The state is signed, base64 and so full of `=`, as in distribution. */
  location(session: Session, base: string): string {
    const { id, repository, size } = session;
    const state: UploadState = { id, repository, size };
    const json = Buffer.from(JSON.stringify(state));
    const signed = Buffer.concat([this.#sign(json), json]).toString("base64");
    return `${base}/v2/${repository}/blobs/uploads/${id}?_state=${encodeURIComponent(signed)}`;
  }

  #readState(text: string | null): UploadState | undefined {
    const bytes = Buffer.from(text ?? "", "base64");
    const json = bytes.subarray(32);
    if (bytes.length <= 32 || !bytes.subarray(0, 32).equals(this.#sign(json))) return undefined;
    return JSON.parse(json.toString()) as UploadState;
  }

  #sign(bytes: Buffer): Buffer {
    return createHmac("sha256", this.#secret).update(bytes).digest();
  }
}

export interface UploadTarget {
  readonly repository: string;
  readonly id: string;
}

/** Answers POST on `…/blobs/uploads/`: a mount that works is 201, everything else opens a session. */
export function answerStart(
  request: RegistryRequest,
  content: RegistryContent,
  uploads: Uploads,
  repository: string,
): Reply {
  if (request.method === "GET" || request.method === "HEAD") throw new RegistryError("BLOB_UPLOAD_UNKNOWN");
  if (request.method !== "POST") return methodNotAllowed("GET", "HEAD", "POST");
  const mount = request.query.get("mount");
  const from = request.query.get("from");
  if (mount !== null && from !== null && content.mountBlob(repository, mount, from)) {
    return blobCreated(request, repository, mount);
  }
  // A body with ?digest= is not taken: 2.8 and 3 do not know the single POST and open a session as well.
  return sessionReply(202, request, uploads, uploads.start(repository));
}

/** Answers a request for one open upload. */
export async function answerUpload(
  request: RegistryRequest,
  services: { readonly content: RegistryContent; readonly uploads: Uploads; readonly dialect: Dialect },
  target: UploadTarget,
): Promise<Reply> {
  const { content, uploads, dialect } = services;
  const methods = ["DELETE", "GET", "HEAD", "PATCH", "PUT"];
  if (!methods.includes(request.method)) return methodNotAllowed(...methods);
  const session = uploads.find(request, target, dialect);
  switch (request.method) {
    case "PATCH":
      checkType(request);
      if (dialect === "3") checkRange(request, session);
      await append(session, request);
      return sessionReply(202, request, uploads, session);
    case "PUT":
      return finish(request, session, content, uploads);
    case "DELETE":
      uploads.end(session.id);
      return { status: 204, headers: { "docker-upload-uuid": session.id } };
    default:
      return sessionReply(204, request, uploads, session);
  }
}

/** What arrives stays, even if the client goes away in the middle: that is what makes sessions resumable, or not. */
async function append(session: Session, request: RegistryRequest): Promise<void> {
  for await (const chunk of request.body) {
    session.chunks.push(chunk);
    session.sha256.update(chunk);
    session.size += chunk.byteLength;
  }
}

async function finish(
  request: RegistryRequest,
  session: Session,
  content: RegistryContent,
  uploads: Uploads,
): Promise<Reply> {
  const wanted = request.query.get("digest") ?? "";
  if (!isDigest(wanted)) throw new RegistryError("DIGEST_INVALID", wanted === "" ? "digest missing" : wanted);
  await append(session, request);
  uploads.end(session.id);
  const sha256 = `sha256:${session.sha256.digest("hex")}` as Digest;
  const found = wanted.startsWith("sha512:") ? digestOfChunks(session.chunks, "sha512") : sha256;
  if (found !== wanted) throw new RegistryError("DIGEST_INVALID", { digest: wanted });
  content.storeBlob(session.repository, session.chunks, sha256, wanted);
  return blobCreated(request, session.repository, sha256);
}

function blobCreated(request: RegistryRequest, repository: string, digest: string): Reply {
  return {
    status: 201,
    headers: {
      location: `${request.base}/v2/${repository}/blobs/${digest}`,
      "docker-content-digest": digest,
    },
  };
}

function sessionReply(status: number, request: RegistryRequest, uploads: Uploads, session: Session): Reply {
  return {
    status,
    headers: {
      location: uploads.location(session, request.base),
      // An empty session and one byte look the same here, as they do in distribution.
      range: `0-${Math.max(session.size - 1, 0)}`,
      "docker-upload-uuid": session.id,
    },
  };
}

function checkType(request: RegistryRequest): void {
  const type = header(request, "content-type") ?? "";
  if (type !== "" && type !== "application/octet-stream")
    throw new RegistryError("UNKNOWN", "bad Content-Type");
}

/** distribution 3 looks at Content-Range only together with Content-Length; 2.8 does not look at all. */
function checkRange(request: RegistryRequest, session: Session): void {
  const range = header(request, "content-range");
  const length = header(request, "content-length");
  if (range === undefined || length === undefined) return;
  const match = /^([0-9]+)-([0-9]+)$/.exec(range);
  if (match === null) throw new RegistryError("UNKNOWN", "invalid content range format");
  const [start, end] = [Number(match[1]), Number(match[2])];
  if (start > end || start !== session.size) throw new RegistryError("RANGE_INVALID");
  if (end - start + 1 !== Number(length)) throw new RegistryError("SIZE_INVALID");
}
