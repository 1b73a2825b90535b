/** What people type where a host, a reference or a URL belongs, as messages may show it: without a login in front. */

/** The `@` in front of a digest, or of what was meant as one. */
const digestPattern = /^(?:sha\d+:|[a-z0-9]+(?:[+._-][a-z0-9]+)*:[0-9a-f]{32,}$)/i;
const schemePattern = /^(?:[a-z][a-z0-9+.-]*:)?\/\//i;

/**
 * The text with `***` for whatever stands in front of the last `@` that begins no digest: a user name, a password, a
 * token, whatever characters they have. `name@tag`, a slip for `name:tag`, stays as it is.
 */
export function withoutLogin(text: string): string {
  const scheme = schemePattern.exec(text)?.[0] ?? "";
  const rest = text.slice(scheme.length);
  for (let at = rest.lastIndexOf("@"); at >= 0; at = at === 0 ? -1 : rest.lastIndexOf("@", at - 1)) {
    const behind = rest.slice(at + 1);
    if (digestPattern.test(behind)) continue;
    // No host looks like this, and no login.
    const isTag = scheme === "" && /^[\w-]*$/.test(behind) && behind !== "localhost";
    if (isTag && !/[:@]/.test(rest.slice(0, at))) continue;
    return `${scheme}***@${behind}`;
  }
  return text;
}

/** The text without scheme and login: what is to be written instead. */
export function hostPart(text: string): string {
  return withoutLogin(text)
    .replace(schemePattern, "")
    .replace(/^\*\*\*@/, "");
}

/** A text in quotation marks, with {@link withoutLogin} and no longer than `limit` UTF-16 units. */
export function quoted(text: string, limit = 1024): string {
  return JSON.stringify(withoutLogin(text).slice(0, limit));
}

/** Running text of others with `***` for the login of each URL, and of each word like `user:password@host`. */
export function withoutLogins(text: string): string {
  return text.replace(/[^\s"'<>()[\]{}]+/g, (word) => {
    if (!word.includes("@")) return word;
    const bare = word.replace(/@sha\d+:/gi, "");
    const end = bare.lastIndexOf("@");
    const isLogin = bare.includes("//") || (bare.includes(":") && bare.indexOf(":") < end);
    return isLogin && end >= 0 ? withoutLogin(word) : word;
  });
}

/** True if the text is a URL with a login in it, `https://user:password@host/`; a password may hold a slash. */
export function isUrlWithLogin(text: string): boolean {
  const [, scheme, authority = ""] = /^([a-z][a-z0-9+.-]*:)?\/\/([^/]*)/i.exec(text) ?? [];
  if (withoutLogin(text) === text) return false;
  if (scheme === undefined) return /:.*@/.test(authority);
  return (
    authority.includes("@") || (authority !== "" && !/^(?:[\w.-]+|\[[\da-f:]+\])(?::\d+)?$/i.test(authority))
  );
}
