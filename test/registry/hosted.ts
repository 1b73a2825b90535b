/**
 * Test registries in the manners of hosted ones (protocol notes 6.7 and 8), put together from faults. They have no names
 * that a client could know them by: whoever gets along with them has learned how from their answers.
 */
import { mediaTypes } from "../../src/oci/media-types.ts";
import type { AuthOptions } from "./auth.ts";
import { errorReply, jsonReply } from "./errors.ts";
import type { Fault, Interception } from "./fault.ts";
import { iterated, manifests, session, uploads } from "./faults/shared.ts";
import { header, type RegistryRequest, readBody } from "./http.ts";
import { startRegistry, type TestRegistry } from "./registry.ts";

export const hostedKinds = ["docker-hub", "ecr", "ghcr", "gar", "acr", "zot"] as const;
export type HostedKind = (typeof hostedKinds)[number];

/** Limits that are scaled down for tests. */
export interface HostedOptions {
  /** GETs of manifests that Docker Hub allows in its window; 100 if left out. */
  readonly pulls?: number;
  /** So many are refused, then a new window begins; all if left out. */
  readonly refusals?: number;
  /** Repositories that exist at ECR, where a push makes none; all if left out. */
  readonly repositories?: readonly string[];
}

/** Who may do everything there. */
export const hostedUser = { username: "ada", password: "s3cret-word" };
/** ECR's own user name. */
export const ecrUser = { username: "AWS", password: "s3cret-word" };

const users = { [hostedUser.username]: hostedUser.password };
const tokens: AuthOptions = { type: "bearer", users };
const MiB = 1024 * 1024;
const tagsList = /^\/v2\/(.+)\/tags\/list$/;

/** Starts one. */
export async function startHosted(kind: HostedKind, options: HostedOptions = {}): Promise<TestRegistry> {
  return await starters[kind](options);
}

/** The credential that a kind takes. */
export function hostedCredential(kind: HostedKind): typeof hostedUser {
  return kind === "ecr" ? ecrUser : hostedUser;
}

const starters: Readonly<Record<HostedKind, (options: HostedOptions) => Promise<TestRegistry>>> = {
  /** Counts GETs of manifests, and only those; blobs are elsewhere; no catalog. */
  "docker-hub": async (options) => {
    const registry = await startRegistry({ auth: { type: "bearer", users, anonymousPull: true } });
    registry.fault("redirect-blobs");
    registry.customFault("no catalog", {
      path: /^\/v2\/_catalog$/,
      intercept: () => ({ ...errorReply([{ code: "UNAUTHORIZED" }]), status: 404 }),
    });
    registry.customFault("pull limit", pullLimit(options));
    return registry;
  },

  /** Parts of 5 MiB at least, 201 to each with the Range of the first one, and no repository that was not made. */
  ecr: async ({ repositories }) => {
    const registry = await startRegistry({
      dialect: "3",
      auth: { type: "basic", users: { [ecrUser.username]: ecrUser.password } },
    });
    registry.fault("small-chunks-refused", { bytes: 5 * MiB });
    registry.customFault("stuck range", stuckRange());
    registry.customFault("repositories", {
      path: /^\/v2\/(.+)\/(?:blobs|manifests|tags)\//,
      intercept: ({ path }) => {
        const [, name = ""] = /^\/v2\/(.+?)\/(?:blobs|manifests|tags)\//.exec(path) ?? [];
        if (repositories === undefined || repositories.includes(name)) return undefined;
        return errorReply([{ code: "NAME_UNKNOWN", message: "RepositoryNotFoundException" }]);
      },
    });
    registry.customFault("page size", {
      path: tagsList,
      intercept: ({ query }) =>
        Number(query.get("n") ?? "0") > 1000
          ? { ...errorReply([{ code: "UNSUPPORTED", message: "Invalid parameter maxResults" }]), status: 400 }
          : undefined,
    });
    return registry;
  },

  /** Chunks of 4 MiB at most, pages of 100 tags, no catalog. */
  ghcr: async () => {
    const registry = await startRegistry({ dialect: "3", auth: tokens });
    registry.fault("chunk-limit", { bytes: 4 * MiB });
    registry.customFault("pages", {
      path: tagsList,
      intercept: ({ query }) => {
        if (Number(query.get("n") ?? "1000") > 100) query.set("n", "100");
        return "altered";
      },
    });
    return registry;
  },

  /** No chunks, uploads in a path of their own, tokens by GET alone. */
  gar: async () => {
    const registry = await startRegistry({ dialect: "3", auth: tokens });
    // What crane and Docker send, all of a blob in one PATCH, is taken.
    registry.fault("reject-patch", { ranged: true });
    const own = /^\/artifacts-uploads\/namespaces\/test(\/v2\/.*)$/;
    registry.fault("other-location", {
      change: (location) =>
        `/artifacts-uploads/namespaces/test${new URL(location).pathname}${new URL(location).search}`,
    });
    registry.customFault(
      "own path",
      {
        path: own,
        intercept: (request) => {
          request.path = own.exec(request.path)?.[1] ?? request.path;
          return "altered";
        },
      },
      { beforeAuth: true },
    );
    registry.customFault("no token post", noTokenPost(404), { beforeAuth: true });
    return registry;
  },

  /** Large blobs in chunks only, whose ranges have to look as distribution's; tokens by GET for users. */
  acr: async () => {
    const registry = await startRegistry({ dialect: "3", auth: tokens });
    registry.fault("whole-limit", { bytes: 20_000_000 });
    registry.fault("rfc-range-refused");
    registry.customFault("no token post", noTokenPost(400), { beforeAuth: true });
    return registry;
  },

  /** Paths as locations, sessions that end with their connection, mounts of whatever there is, and referrers. */
  zot: async () => {
    const registry = await startRegistry({ dialect: "3" });
    registry.fault("relative-location");
    registry.customFault("empty range", {
      path: uploads,
      transform: (reply, { method }) =>
        method === "POST" && reply.status === 202
          ? { ...reply, headers: { ...reply.headers, range: "0--1" } }
          : undefined,
    });
    registry.customFault("aborted upload", {
      methods: ["PATCH", "PUT"],
      path: session,
      intercept: (request, context) => {
        const id = session.exec(request.path)?.[1] ?? "";
        request.body = endingWith(request.body, () => context.uploads.end(id));
        return "altered";
      },
    });
    registry.customFault("mounts", zotMounts());
    for (const [name, fault] of zotReferrers()) registry.customFault(name, fault);
    return registry;
  },
};

function pullLimit({ pulls = 100, refusals = Number.POSITIVE_INFINITY }: HostedOptions): Fault {
  let left = pulls;
  let refused = 0;
  const headers = (): Readonly<Record<string, string>> => ({
    "ratelimit-limit": `${pulls};w=21600`,
    "ratelimit-remaining": `${Math.max(left, 0)};w=21600`,
    "docker-ratelimit-source": "127.0.0.1",
  });
  return {
    methods: ["GET", "HEAD"],
    path: manifests,
    intercept: ({ method }) => {
      if (method === "HEAD") return undefined;
      if (left <= 0 && refused < refusals) {
        refused += 1;
        const message = "You have reached your pull rate limit.";
        return errorReply([{ code: "TOOMANYREQUESTS", message }], { ...headers(), "retry-after": "0" });
      }
      if (left <= 0) left = pulls;
      left -= 1;
      return undefined;
    },
    transform: (reply) =>
      reply.status === 200 ? { ...reply, headers: { ...reply.headers, ...headers() } } : undefined,
  };
}

function stuckRange(): Fault {
  const first = new Map<string, string>();
  return {
    methods: ["PATCH"],
    path: session,
    transform: (reply, { path }) => {
      if (reply.status !== 202) return undefined;
      const own = reply.headers?.["range"];
      const range = first.get(path) ?? (typeof own === "string" ? own : "0-0");
      first.set(path, range);
      return { ...reply, status: 201, headers: { ...reply.headers, range } };
    },
  };
}

function noTokenPost(status: number): Fault {
  return {
    methods: ["POST"],
    path: /^\/token$/,
    intercept: () => ({ status, body: [Buffer.from("<html></html>")] }),
  };
}

/** A mount needs no source, and a source without a digest is no request. */
function zotMounts(): Fault {
  return {
    methods: ["POST"],
    path: uploads,
    intercept: ({ query, path, base }, { content }) => {
      const [mount, from] = [query.get("mount"), query.get("from")];
      if (mount === null) return from === null ? undefined : errorReply([{ code: "UNSUPPORTED" }]);
      const repository = path.replace(/^\/v2\//, "").replace(/\/blobs\/uploads\/$/, "");
      const owner = content.repositories().find((name) => content.findBlob(name, mount) !== undefined);
      if (owner === undefined || !content.mountBlob(repository, mount, owner)) return undefined;
      return { status: 201, headers: { location: `${base}/v2/${repository}/blobs/${mount}` } };
    },
  };
}

/** The referrers API: what is pushed with a subject is listed, and the answer names the subject. */
function zotReferrers(): readonly (readonly [string, Fault])[] {
  interface Referrer {
    readonly key: string;
    readonly descriptor: object;
  }
  const known: Referrer[] = [];
  const subjects = new WeakMap<RegistryRequest, string>();
  const put: Fault = {
    methods: ["PUT"],
    path: manifests,
    intercept: async (request): Promise<Interception> => {
      const bytes = (await readBody(request)) ?? Buffer.alloc(0);
      request.body = iterated(bytes);
      const document = JSON.parse(bytes.toString("utf8")) as {
        readonly subject?: { readonly digest: string };
      };
      if (document.subject !== undefined) subjects.set(request, document.subject.digest);
      return "altered";
    },
    transform: (reply, request) => {
      const subject = subjects.get(request);
      if (subject === undefined || reply.status !== 201) return undefined;
      const [, repository = ""] = manifests.exec(request.path) ?? [];
      const digest = reply.headers?.["docker-content-digest"];
      const mediaType = header(request, "content-type");
      const size = Number(header(request, "content-length") ?? 0);
      known.push({ key: `${repository} ${subject}`, descriptor: { mediaType, digest, size } });
      return { ...reply, headers: { ...reply.headers, "oci-subject": subject } };
    },
  };
  const list: Fault = {
    methods: ["GET"],
    path: /^\/v2\/(.+)\/referrers\/([^/]+)$/,
    intercept: ({ path }) => {
      const [, repository = "", digest = ""] = /^\/v2\/(.+)\/referrers\/([^/]+)$/.exec(path) ?? [];
      const found = known.filter(({ key }) => key === `${repository} ${digest}`);
      return jsonReply(
        200,
        {
          schemaVersion: 2,
          mediaType: mediaTypes.ociIndex,
          manifests: found.map(({ descriptor }) => descriptor),
        },
        { "content-type": mediaTypes.ociIndex },
      );
    },
  };
  return [
    ["subjects", put],
    ["referrers", list],
  ];
}

async function* endingWith(body: AsyncIterable<Uint8Array>, end: () => void): AsyncGenerator<Uint8Array> {
  try {
    yield* body;
  } catch (error) {
    end();
    throw error;
  }
}
