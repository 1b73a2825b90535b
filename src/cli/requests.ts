/** From lists, arguments and flags to what the planner is asked for, and to the hosts that are needed for it. */
import { AppError } from "../errors.ts";
import type { ImageList, ImageRequest } from "../list/image-list.ts";
import { loadLists } from "../list/read-list.ts";
import { requestsFromArguments } from "../list/request-arguments.ts";
import { splitEndpoint } from "../list/target-name.ts";
import { parsePlatform } from "../oci/platform.ts";
import { formatReference, isRegistryHost, isRepository, tagOrDigest } from "../oci/reference.ts";
import { hostPart, quoted } from "../oci/shown.ts";
import { defaultNameTemplate, targetName } from "../sync/naming.ts";
import type { PlanRequest } from "../sync/plan.ts";

const defaultList = "manifests.yaml";

/** A request that knows its source. */
export interface SourcedRequest extends PlanRequest {
  readonly host: string;
  readonly repository: string;
}

/** A registry to write to, and the path in front of every name in it (may be empty). */
export interface RegistryTarget {
  readonly host: string;
  readonly prefix: string;
}

/** A target as it was given: `HOST[:PORT][/PREFIX]`. */
export function targetText({ host, prefix }: RegistryTarget): string {
  return prefix === "" ? host : `${host}/${prefix}`;
}

/** The images named on the command line, or those of the lists; with neither, those of ./manifests.yaml. */
export async function readSelection(
  images: readonly string[],
  flags: { readonly file?: readonly string[] | undefined; readonly platform?: readonly string[] | undefined },
): Promise<ImageList> {
  const platforms = (flags.platform ?? []).map(parsePlatform);
  const named = requestsFromArguments([...images], platforms);
  const files = flags.file ?? (images.length === 0 ? [defaultList] : []);
  const list: ImageList =
    files.length === 0
      ? { images: [], registries: new Map() }
      : await loadLists(files, { stdin: process.stdin, cwd: workingFolder() });
  const listed =
    platforms.length === 0 ? list.images : list.images.map((request) => ({ ...request, platforms }));
  return { images: [...named, ...listed], registries: list.registries };
}

function workingFolder(): string {
  try {
    return process.cwd();
  } catch (error) {
    throw new AppError("NOT_FOUND", "Cannot find the working folder: it has been removed", {
      hint: "change to a folder that is there",
      cause: error,
    });
  }
}

/** Requests for the planner. `template` and `prefix` make the names in the target. */
export function planRequests(
  images: readonly ImageRequest[],
  naming: { readonly template?: string | undefined; readonly prefix?: string },
): readonly SourcedRequest[] {
  return images.map(({ reference, platforms, as, place }) => ({
    image: formatReference(reference),
    reference: tagOrDigest(reference),
    platforms,
    target: targetName(reference, {
      template: naming.template ?? defaultNameTemplate,
      prefix: naming.prefix ?? "",
      as,
    }),
    place,
    host: reference.registry,
    repository: reference.repository,
  }));
}

/** Reads `HOST[:PORT][/PREFIX]`. Throws USAGE with what is wrong and the way out. */
export function parseRegistryTarget(text: string): RegistryTarget {
  const fail = (reason: string, hint: string): never => {
    throw new AppError("USAGE", `Cannot use the registry ${quoted(text)}: ${reason}`, { hint });
  };
  const scheme = /^([a-z]+):\/\//i.exec(text)?.[1]?.toLowerCase();
  if (scheme !== undefined) {
    const rest = hostPart(text).replace(/\/+$/, "");
    const plain = scheme === "http" ? ` and add --plain-http ${rest.split("/")[0] ?? ""}` : "";
    fail(`it begins with ${scheme}://`, `write ${rest}${plain}`);
  }
  if (hostPart(text) !== text)
    fail("it holds a login", `leave it out, and log in: mirror login ${hostPart(text).split("/")[0] ?? ""}`);
  const { host, prefix } = splitEndpoint(text);
  if (!isRegistryHost(host))
    fail(`${quoted(host)} is not a host`, "write it as HOST[:PORT][/PREFIX], for example 10.0.0.1:32000");
  if (prefix !== "" && !isRepository(prefix))
    fail(
      `${quoted(prefix)} cannot begin a repository name`,
      "use lower-case letters, digits and . _ - between slashes",
    );
  return { host, prefix };
}
