import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseChallenges } from "../../src/registry/challenge.ts";

const bearer = (parameters: Record<string, string>) => ({ scheme: "bearer", parameters });
const basic = (parameters: Record<string, string> = {}) => ({ scheme: "basic", parameters });

describe("one header line", () => {
  test.each([
    [
      'Bearer realm="https://a/t",service="s",scope="repository:x:pull"',
      [bearer({ realm: "https://a/t", service: "s", scope: "repository:x:pull" })],
    ],
    ['bearer REALM="https://a/t",Service=s', [bearer({ realm: "https://a/t", service: "s" })]],
    [
      'Basic realm="r", Bearer realm="https://a/t",service="s"',
      [basic({ realm: "r" }), bearer({ realm: "https://a/t", service: "s" })],
    ],
    [
      'Bearer realm="https://a/t",service="s",Basic realm="r"',
      [bearer({ realm: "https://a/t", service: "s" }), basic({ realm: "r" })],
    ],
    ["Basic", [basic()]],
    ['Negotiate, Basic realm="x"', [{ scheme: "negotiate", parameters: {} }, basic({ realm: "x" })]],
    ['NTLM TlRMTVNTUAAC==, Bearer realm="u"', [{ scheme: "ntlm", parameters: {} }, bearer({ realm: "u" })]],
    ['Bearer realm="a\\"b\\\\c",scope=""', [bearer({ realm: 'a"b\\c', scope: "" })]],
    [
      'Bearer realm = "https://a/t" , , service="s,with,commas"',
      [bearer({ realm: "https://a/t", service: "s,with,commas" })],
    ],
    ['Bearer realm="unterminated', []],
    ['Basic realm="r", Bearer realm="unterminated', [basic({ realm: "r" })]],
    ['Bearer service="s"', [bearer({ service: "s" })]],
    ['Bearer realm="/token"', [bearer({ realm: "/token" })]],
    // Beyond the vectors of the protocol notes.
    ["Bearer realm=https://a/t,service=s", [bearer({ realm: "https://a/t", service: "s" })]],
    ['Bearer realm="first",REALM="second"', [bearer({ realm: "first" })]],
    [
      'Bearer realm="https://a/t",Negotiate,Basic',
      [bearer({ realm: "https://a/t" }), { scheme: "negotiate", parameters: {} }, basic()],
    ],
    ["", []],
    [" , ,", []],
    ['@ Bearer realm="x"', []],
  ])("%s", (line, expected) => {
    expect(parseChallenges(line)).toEqual(expected);
  });
});

test("several header lines are read one after the other", () => {
  expect(parseChallenges(['Basic realm="r"', 'Bearer realm="t"'])).toEqual([
    basic({ realm: "r" }),
    bearer({ realm: "t" }),
  ]);
  expect(parseChallenges(undefined)).toEqual([]);
});

test("a broken line leaves the other ones alone", () => {
  expect(parseChallenges(['Bearer realm="never ends', "Basic"])).toEqual([basic()]);
});

const name = fc.stringMatching(/^[a-z][a-z0-9]{0,8}$/);
// What Object.prototype has cannot be told from a key that came before; no challenge has such keys.
const key = name.filter((text) => !(text in {}));
const challenge = fc.record({ scheme: name, parameters: fc.dictionary(key, fc.string(), { maxKeys: 4 }) });

test("whatever is written by the rules is read back", () => {
  fc.assert(
    fc.property(fc.array(challenge, { maxLength: 4 }), (challenges) => {
      const line = challenges
        .map(({ scheme, parameters }) => {
          const written = Object.entries(parameters).map(
            ([name, value]) => `${name}="${value.replace(/["\\]/g, "\\$&")}"`,
          );
          return [scheme, written.join(", ")].filter(Boolean).join(" ");
        })
        .join(", ");
      const read = parseChallenges(line).map(({ scheme, parameters }) => ({
        scheme,
        parameters: { ...parameters },
      }));
      expect(read).toEqual(
        challenges.map(({ scheme, parameters }) => ({ scheme, parameters: { ...parameters } })),
      );
    }),
  );
});

test("any text ends with some answer", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 200 }), (line) => {
      for (const { scheme } of parseChallenges(line)) expect(scheme).toBe(scheme.toLowerCase());
    }),
  );
});
