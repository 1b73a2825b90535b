/** Faults of tag lists and the catalog (rows 48 and 49 of the fault list). */
import { errorReply, jsonReply } from "../errors.ts";
import type { Fault } from "../fault.ts";
import { replyHeader } from "../http.ts";

const lists = /\/tags\/list$|\/_catalog$/;

export const listingFaults = {
  /** Pages of `size` entries, whatever is asked for, whose Link header is what `link` makes of it. */
  "small-pages": ({
    size = 10,
    link = (given) => given,
  }: {
    readonly size?: number;
    readonly link?: (given: string) => string | readonly string[];
  } = {}): Fault => ({
    methods: ["GET"],
    path: lists,
    intercept: ({ query }) => {
      query.set("n", `${size}`);
      return "altered";
    },
    transform: (reply) => {
      const given = replyHeader(reply, "link");
      return given === undefined ? undefined : { ...reply, headers: { ...reply.headers, link: link(given) } };
    },
  }),

  /**
   * Every page has a next one. `cursor` makes its URL another one each time; `tags` are on each page, or made by number.
   */
  "endless-pages": ({
    cursor = true,
    tags = ["v1"],
  }: {
    readonly cursor?: boolean;
    readonly tags?: readonly string[] | ((page: number) => readonly string[]);
  } = {}): Fault => {
    let page = 0;
    return {
      methods: ["GET"],
      path: lists,
      intercept: (request) => {
        page += 1;
        const next = cursor ? `${request.path}?cursor=${page}` : `${request.path}?n=1000`;
        const names = typeof tags === "function" ? tags(page) : tags;
        return jsonReply(200, { name: "a", tags: names }, { link: `<${next}>; rel="next"` });
      },
    };
  },

  /** `tags` of any shape, or a `body` that is none at all. */
  "odd-tags": ({ tags, body }: { readonly tags?: unknown; readonly body?: string } = {}): Fault => ({
    methods: ["GET"],
    path: lists,
    intercept: () =>
      body === undefined
        ? jsonReply(200, { name: "another/name", tags })
        : { status: 200, body: [Buffer.from(body)] },
  }),

  /** Refuses more entries than `most` at a time; `coded` as distribution does, otherwise with a bare 400. */
  "page-maximum": ({
    most = 100,
    coded = true,
  }: {
    readonly most?: number;
    readonly coded?: boolean;
  } = {}): Fault => ({
    methods: ["GET"],
    path: lists,
    intercept: ({ query }) => {
      if (Number(query.get("n") ?? "0") <= most) return undefined;
      return coded ? errorReply([{ code: "PAGINATION_NUMBER_INVALID" }]) : { status: 400 };
    },
  }),

  /** Offers no catalog. */
  "no-catalog": ({ status = 404 }: { readonly status?: number } = {}): Fault => ({
    methods: ["GET"],
    path: /\/_catalog$/,
    intercept: () => ({ status }),
  }),
} as const;
