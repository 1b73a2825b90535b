/** What a list comes to once it is read: plain values that know where they were written. */
import { formatPlatform, type Platform } from "../oci/platform.ts";
import { formatReference, type Reference } from "../oci/reference.ts";
import { type RegistryLogin, sameLogin } from "./login.ts";
import { type Place, type Problems, placeText } from "./problems.ts";

/** The name of an image in the target, without a host. A tag that is left out is the tag of the source. */
export interface TargetName {
  readonly repository: string;
  readonly tag?: string;
}

/** One image that is asked for. */
export interface ImageRequest {
  readonly reference: Reference;
  /** The platforms wanted; empty means every platform, with the digest of the index untouched. */
  readonly platforms: readonly Platform[];
  readonly as?: TargetName;
  /** Where it was asked for, for messages: `manifests.yaml:12`, `command line`. */
  readonly place: string;
}

/** A registry that has copies of another one's images. */
export interface MirrorEndpoint {
  readonly host: string;
  /** The path in front of every repository; may be empty. */
  readonly prefix: string;
}

/** How to talk to one registry. A field that is left out has the default of the registry client. */
export interface RegistrySettings {
  /** Requests at the same time, 1 to 64. */
  readonly concurrency?: number;
  /** Plain HTTP, credentials included. */
  readonly plainHttp?: boolean;
  /** HTTPS without a check of the certificate. */
  readonly insecure?: boolean;
  /** A PEM file with further certificate authorities. Absolute if the list's folder was known. */
  readonly caFile?: string;
  /** PEM files with a client certificate and its key: both or neither. Absolute as `caFile` is. */
  readonly clientCert?: string;
  readonly clientKey?: string;
  /** Size of one chunk of an upload, in bytes. */
  readonly chunkSize?: number;
  /** Asked for its images first, in this order. */
  readonly mirrors?: readonly MirrorEndpoint[];
  /** Who we are there. */
  readonly login?: RegistryLogin;
}

/** Everything that one or several lists ask for. */
export interface ImageList {
  readonly images: readonly ImageRequest[];
  /** By normalised host: `docker.io`, never `index.docker.io`. */
  readonly registries: ReadonlyMap<string, RegistrySettings>;
}

/** A list to read. */
export interface ListSource {
  /** What messages call it: the path as the user wrote it, or `stdin`. */
  readonly name: string;
  readonly text: string;
  /** The folder that a relative `caFile` is relative to. Left out: it stays as it is written. */
  readonly folder?: string;
}

/** The settings of one host at one place, before those of several places are merged. */
export interface RegistryEntry {
  readonly host: string;
  readonly settings: RegistrySettings;
  /** Where each of the settings was written, by its key. */
  readonly places: ReadonlyMap<string, Place>;
}

/** What one list holds. */
export interface ParsedList {
  readonly images: readonly ImageRequest[];
  readonly registries: readonly RegistryEntry[];
}

const settingKeys = [
  "concurrency",
  "plainHttp",
  "insecure",
  "caFile",
  "clientCert",
  "clientKey",
  "chunkSize",
  "mirrors",
] as const;

/**
 * Puts lists together. What is asked for twice in the same words is asked for once, at its first place. Settings
 * of one host that contradict each other are added to `problems`, each with both places.
 */
export function mergeLists(lists: readonly ParsedList[], problems: Problems): ImageList {
  return {
    images: uniqueRequests(lists.flatMap((list) => list.images)),
    registries: mergeRegistries(
      lists.flatMap((list) => list.registries),
      problems,
    ),
  };
}

/** The same requests in the same order, without those that ask for exactly what an earlier one asks for. */
export function uniqueRequests(requests: readonly ImageRequest[]): readonly ImageRequest[] {
  const seen = new Map<string, ImageRequest>();
  for (const request of requests) {
    const platforms = request.platforms.map(formatPlatform).sort().join(",");
    const as = request.as === undefined ? "" : `${request.as.repository}:${request.as.tag ?? ""}`;
    const key = `${formatReference(request.reference)} ${platforms} ${as}`;
    if (!seen.has(key)) seen.set(key, request);
  }
  return [...seen.values()];
}

/** The same platforms in the same order, each once. */
export function uniquePlatforms(platforms: readonly Platform[]): readonly Platform[] {
  return [...new Map(platforms.map((platform) => [formatPlatform(platform), platform])).values()];
}

function mergeRegistries(
  entries: readonly RegistryEntry[],
  problems: Problems,
): Map<string, RegistrySettings> {
  const merged = new Map<string, RegistrySettings>();
  const first = new Map<string, { value: string | number | boolean; place: Place }>();
  for (const { host, settings, places } of entries) {
    for (const key of settingKeys) {
      const setting = settings[key];
      const value =
        typeof setting === "object"
          ? setting.map(({ host: mirror, prefix }) => `${mirror}/${prefix}`.replace(/\/$/, "")).join(", ")
          : setting;
      const place = places.get(key);
      if (value === undefined || place === undefined) continue;
      const known = first.get(`${host} ${key}`);
      if (known === undefined) {
        first.set(`${host} ${key}`, { value, place });
      } else if (known.value !== value) {
        const there = `${known.value} at ${placeText(known.place)}`;
        problems.add(place, `${key} of ${host} is ${value} here and ${there}`, "keep one of them");
      }
    }
    const { login } = settings;
    const loginPlace = places.get("username");
    const before = merged.get(host)?.login;
    // Never with the values: they are secrets.
    if (login !== undefined && loginPlace !== undefined && before !== undefined && !sameLogin(login, before))
      problems.add(
        loginPlace,
        `the credentials of ${host} are others here than at ${before.place}`,
        "keep one of them",
      );
    merged.set(host, { ...merged.get(host), ...settings });
  }
  return merged;
}
