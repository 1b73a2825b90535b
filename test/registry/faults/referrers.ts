/** The referrers API, which distribution does not have, and how it goes wrong (rows 28 and 29 of the fault list). */
import { mediaTypes } from "../../../src/oci/media-types.ts";
import { jsonReply } from "../errors.ts";
import type { Fault, FaultContext, Interception } from "../fault.ts";
import { type RegistryRequest, type Reply, readBody } from "../http.ts";
import { everything, iterated, manifests } from "./shared.ts";

const path = /^\/v2\/(.+)\/referrers\/([^/]+)$/;

interface Document {
  readonly mediaType?: string;
  readonly subject?: { readonly digest?: string };
  readonly artifactType?: string;
  readonly config?: { readonly mediaType?: string };
  readonly annotations?: object;
}

export const referrersFaults = {
  /**
   * Has the API (zot, ACR, ECR): lists what has the subject, and says so when such a manifest is put. `pageSize`: with
   * `Link`; `filters`: false takes no notice of `artifactType`.
   */
  "referrers-api": ({
    pageSize = 1000,
    filters = true,
  }: {
    readonly pageSize?: number;
    readonly filters?: boolean;
  } = {}): Fault => {
    const subjects = new WeakMap<RegistryRequest, string>();
    return {
      path: everything,
      intercept: async (request, context): Promise<Interception> => {
        if (request.method === "GET" && path.test(request.path))
          return listed(request, context, pageSize, filters);
        if (request.method !== "PUT" || !manifests.test(request.path)) return undefined;
        const body = (await readBody(request)) ?? Buffer.alloc(0);
        request.body = iterated(body);
        const subject = (JSON.parse(body.toString()) as Document).subject?.digest;
        if (subject === undefined) return undefined;
        subjects.set(request, subject);
        return "altered";
      },
      transform: (reply, request) => {
        const subject = subjects.get(request);
        if (subject === undefined || reply.status !== 201) return undefined;
        return { ...reply, headers: { ...reply.headers, "oci-subject": subject } };
      },
    };
  },

  /** Loses what is written under a referrers tag: another client's `bytes` are there instead. */
  "lost-referrers": ({ bytes = Buffer.alloc(0) }: { readonly bytes?: Buffer } = {}): Fault => ({
    methods: ["PUT"],
    path: /^\/v2\/.+\/manifests\/sha(?:256|512)-[0-9a-f]{64}$/,
    intercept: (request, { content }) => {
      const [, repository = "", tag = ""] = manifests.exec(request.path) ?? [];
      content.putManifest(repository, tag, bytes, mediaTypes.ociIndex);
      return { status: 201 };
    },
  }),
} as const;

function listed(
  { path: asked, query }: RegistryRequest,
  { content }: FaultContext,
  pageSize: number,
  filters: boolean,
): Reply {
  const [, repository = "", subject = ""] = path.exec(asked) ?? [];
  const wanted = query.get("artifactType");
  const filtered = filters && wanted !== null;
  const all = content.manifestsOf(repository).flatMap(({ bytes, digest }) => {
    const { mediaType, subject: about, config, annotations, artifactType } = parsed(bytes);
    const type = artifactType ?? config?.mediaType;
    if (about?.digest !== subject || (filtered && type !== wanted)) return [];
    return [{ mediaType, digest, size: bytes.byteLength, artifactType: type, annotations }];
  });
  const at = Number(query.get("at") ?? 0);
  const rest = new URLSearchParams({ ...Object.fromEntries(query), at: `${at + pageSize}` });
  const more = at + pageSize < all.length ? { link: `<${asked}?${rest.toString()}>; rel="next"` } : {};
  const index = {
    schemaVersion: 2,
    mediaType: mediaTypes.ociIndex,
    manifests: all.slice(at, at + pageSize),
  };
  return jsonReply(200, index, {
    "content-type": mediaTypes.ociIndex,
    ...more,
    ...(filtered ? { "oci-filters-applied": "artifactType" } : {}),
  });
}

function parsed(bytes: Buffer): Document {
  return JSON.parse(bytes.toString()) as Document;
}
