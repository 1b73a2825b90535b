/** Names for images in the target (`as:`), and hosts as keys of settings. */
import { AppError } from "../errors.ts";
import { isRegistryHost, isRepository, isTag, parseReference } from "../oci/reference.ts";
import { hostPart, quoted, withoutLogin } from "../oci/shown.ts";
import type { MirrorEndpoint, TargetName } from "./image-list.ts";

/** Parses `repository[:tag]`. Throws REFERENCE for a host, a digest, or what is no repository or no tag. */
export function parseTargetName(text: string): TargetName {
  const fail = (reason: string, hint: string): AppError =>
    new AppError("REFERENCE", `Cannot read target name ${quoted(text)}: ${reason}`, { hint });
  const scheme = /^[a-z][a-z0-9+.-]*:\/\//.exec(text)?.[0];
  if (scheme !== undefined) throw fail(`it begins with ${scheme}`, "write repository[:tag]");
  if (text.includes("@"))
    throw fail("it holds a digest", "write repository[:tag]; the content decides the digest");
  const slash = text.indexOf("/");
  const first = text.slice(0, Math.max(slash, 0));
  // The rule by which a reference tells a host from the first part of a path. A target may well have a repository
  // such as docker.io/library/nginx, but whoever writes a host here nearly always means another registry.
  if (first === "localhost" || /[.:]/.test(first)) {
    throw fail(
      `${JSON.stringify(first)} is a host`,
      "leave the host out; --registry names the registry to push to",
    );
  }
  const colon = text.lastIndexOf(":");
  const hasTag = colon > text.lastIndexOf("/");
  const repository = hasTag ? text.slice(0, colon) : text;
  if (!isRepository(repository)) {
    const lower = repository.toLowerCase();
    const hint = isRepository(lower) ? `write ${lower}` : "write repository[:tag] like team/app:1.0";
    throw fail(`${JSON.stringify(repository)} is not a repository name`, hint);
  }
  if (!hasTag) return { repository };
  const tag = text.slice(colon + 1);
  if (!isTag(tag))
    throw fail(`${JSON.stringify(tag)} is not a tag`, "write repository[:tag] like team/app:1.0");
  return { repository, tag };
}

/**
 * A registry's host in the form that references hold it: aliases of Docker Hub become `docker.io`. Throws
 * REFERENCE for what is not `host[:port]`.
 */
export function parseRegistryHost(text: string): string {
  if (!isRegistryHost(text)) {
    throw new AppError("REFERENCE", `Cannot read registry ${quoted(text)}: it is not host[:port]`, {
      hint: "write it like registry.internal:5000, without https:// and without a path",
    });
  }
  // A name without a dot or a port is no host at the start of a reference, but may be one on its own.
  const { registry, repository } = parseReference(`${text}/a/b`);
  return repository === "a/b" ? registry : text;
}

/** Splits `host[:port][/prefix]`, neither of which is checked; the prefix may be empty. */
export function splitEndpoint(text: string): { readonly host: string; readonly prefix: string } {
  const slash = text.indexOf("/");
  if (slash < 0) return { host: text, prefix: "" };
  return { host: text.slice(0, slash), prefix: text.slice(slash + 1).replace(/\/+$/, "") };
}

/** Parses a pull-through mirror, `host[:port][/prefix]`. Throws REFERENCE with the way out. */
export function parseMirror(text: string): MirrorEndpoint {
  const fail = (reason: string, hint: string): AppError =>
    new AppError("REFERENCE", `Cannot read mirror ${quoted(text)}: ${reason}`, { hint });
  const form = "write it like mirror.internal:5000 or harbor.internal/hub-proxy";
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(text)?.[0];
  if (scheme !== undefined) {
    const plain = /^http:/i.test(scheme) ? ", and set plainHttp: true for it under registries" : "";
    throw fail(`it begins with ${scheme}`, `write ${hostPart(text).replace(/\/+$/, "")}${plain}`);
  }
  if (withoutLogin(text) !== text)
    throw fail(
      "it holds a login",
      "leave it out, and put username and passwordFile for its host under registries",
    );
  const { host, prefix } = splitEndpoint(text);
  if (!isRegistryHost(host)) throw fail(`${JSON.stringify(host)} is not host[:port]`, form);
  if (prefix !== "" && !isRepository(prefix))
    throw fail(`${JSON.stringify(prefix)} cannot begin a repository name`, form);
  return { host: parseRegistryHost(host), prefix };
}
