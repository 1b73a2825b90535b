import { expect, test } from "vitest";
import { quoted, withoutLogin, withoutLogins } from "../../src/oci/shown.ts";

const digest = `sha256:${"a".repeat(64)}`;

test.each([
  ["ann:pw@host/app:1.0", "***@host/app:1.0"],
  ["ann:pw@host", "***@host"],
  ["ann:pw@localhost", "***@localhost"],
  ["token@host/app", "***@host/app"],
  ["ann:p/w@host:5000/app", "***@host:5000/app"],
  ["ann:p@w@host/app", "***@host/app"],
  ["ann:p#w?@host", "***@host"],
  ["ann:pw@", "***@"],
  ["https://ann:pw@host/", "https://***@host/"],
  ["HTTPS://ann:p/w@host/", "HTTPS://***@host/"],
  ["//ann:pw@host/app", "//***@host/app"],
  ["https:/ann:pw@host/app", "***@host/app"],
  [`ann:pw@host/app@${digest}`, `***@host/app@${digest}`],
  [`ann:pw@host/app:1@sha256:12`, `***@host/app:1@sha256:12`],
  [`ann:p@sha256:12@host/app`, "***@host/app"],
])("a login in front of a host is not shown: %s", (text, shown) => {
  expect(withoutLogin(text)).toBe(shown);
  expect(quoted(text)).toBe(JSON.stringify(shown));
});

test.each([
  "",
  "host:5000/app:1.0",
  `app@${digest}`,
  `host/app:1.0@${digest}`,
  "app@sha256:12",
  "app@latest",
])("what is no login is shown as it is: %s", (text) => expect(withoutLogin(text)).toBe(text));

test("a long text is cut after the login is gone", () => {
  expect(quoted(`${"x".repeat(100)}:pw@host/app`, 12)).toBe('"***@host/app"');
});

test.each([
  ["see https://ann:pw@host/x, or (http://ann@h2)", "see https://***@host/x, or (http://***@h2)"],
  ["Unexpected argument: ann:pw@host", "Unexpected argument: ***@host"],
  ["write to ann@example.com", "write to ann@example.com"],
  [`no host/app@${digest} here`, `no host/app@${digest} here`],
])("of a running text only the logins go: %s", (text, shown) => {
  expect(withoutLogins(text)).toBe(shown);
});

test.each(["a", "@:", ":", "@", "@sha256:"])("a long text from somebody else takes no time: %s", (part) => {
  const text = `@${part.repeat(100_000 / part.length)}`;
  const began = performance.now();
  withoutLogins(text);
  expect(performance.now() - began).toBeLessThan(1000);
});
