/** Layers that their licence keeps out of registries, from where their vendor gives them out (protocol notes 4.7). */
import type { ByteStream, OpenOptions } from "../content/content.ts";
import { AppError, isAppError } from "../errors.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import { skipping } from "./blob-reader.ts";
import type { RegistryClient } from "./client.ts";
import { describeUrl, printable } from "./errors.ts";
import { bodyStream } from "./http.ts";

/**
 * The bytes of a layer from one of its `urls`, tried in turn; they are not verified. Only https is followed, without
 * credentials, and to no address that the registry itself must not lead us to. `cause`: why the registry does not have
 * it. Throws NOT_FOUND with what became of each URL.
 */
export async function openForeign(
  client: RegistryClient,
  descriptor: Descriptor,
  options: OpenOptions,
  cause: AppError,
): Promise<ByteStream> {
  const tried: string[] = [];
  const origin = await client.connect(options.signal);
  for (const text of descriptor.urls ?? []) {
    const url = URL.canParse(text) ? new URL(text) : undefined;
    const refusal = refusalOf(url, origin, client);
    if (url === undefined || refusal !== undefined) {
      tried.push(
        `${url === undefined ? JSON.stringify(printable(text)) : describeUrl(bare(url))} ${refusal ?? ""}`,
      );
      continue;
    }
    try {
      return await openUrl(client, url, descriptor, options);
    } catch (error) {
      if (!isAppError(error) || error.code === "INTERRUPTED") throw error;
      tried.push(error.message);
    }
  }
  throw new AppError(
    "NOT_FOUND",
    `Cannot read foreign layer ${descriptor.digest}: ${client.registry} does not have it, and none of its URLs serves it`,
    {
      hint: "leave --include-foreign out to copy the image without it",
      cause,
      side: "source",
      details: { tried },
    },
  );
}

/** Why a URL is not followed. The registry's own were asked already, and would get our credentials. */
function refusalOf(url: URL | undefined, origin: URL, client: RegistryClient): string | undefined {
  if (url === undefined) return "is no URL";
  if (url.protocol !== "https:") return "is not https";
  if (url.username !== "" || url.password !== "") return "comes with a password";
  if (url.origin === origin.origin) return "is the registry's own";
  return client.guard.allows(url.host) ? undefined : "is a local address";
}

function bare(url: URL): URL {
  const shown = new URL(url);
  shown.username = "";
  shown.password = "";
  return shown;
}

async function openUrl(
  client: RegistryClient,
  url: URL,
  { digest, size }: Descriptor,
  { offset = 0, signal }: OpenOptions,
): Promise<ByteStream> {
  const what = `read foreign layer ${digest} from ${url.host}`;
  const headers = offset === 0 ? {} : { range: `bytes=${offset}-${size - 1}` };
  const answer = await client.request({
    method: "GET",
    path: url,
    what,
    scopes: [],
    headers,
    signal,
    blob: true,
    accept: [200, 206],
    // That a vendor's server is gone says nothing about the registry.
    retry: false,
  });
  const stream = bodyStream(answer, what);
  // A server that takes no ranges sends all of it again.
  return offset === 0 || answer.status === 206 ? stream : skipping(stream, offset);
}
