import { describe, expect, it } from "vitest";
import { parseObject } from "../../src/oci/json.ts";

const parse = (text: string): unknown => parseObject(Buffer.from(text));

describe("parseObject", () => {
  it.each([
    ['{"a":1,"b":{"a":2},"c":[{"a":3},{"a":4}]}'],
    ['{"a":"\\"a\\":1","b":"{[","c":"\\\\"}'],
    [' {\n"a" :\t"a", "b":"a"}\r\n'],
    [`{"a":${"[".repeat(63)}${"]".repeat(63)}}`],
  ])("reads %s", (text) => {
    expect(parse(text)).toEqual(JSON.parse(text));
  });

  it.each([
    ['{"a":1,"a":2}', 'it has the key "a" twice in one object'],
    ['{"layers":1,"l\\u0061yers":2}', 'it has the key "layers" twice in one object'],
    ['{"x":[{"a":1,"b":{},"a":2}]}', 'it has the key "a" twice in one object'],
    [`{"a":${"[".repeat(64)}${"]".repeat(64)}}`, "it is nested more than 64 deep"],
    ["[]", "it is not a JSON object"],
    ["null", "it is not a JSON object"],
    ["{", "it is not JSON"],
    ["", "it is not JSON"],
    ["\u{feff}{}", "it begins with a byte order mark, which JSON does not have"],
  ])("refuses %s", (text, message) => {
    expect(() => parse(text)).toThrow(message);
  });

  it("refuses what is not UTF-8", () => {
    expect(() => parseObject(Buffer.from([0x7b, 0xff, 0x7d]))).toThrow("it is not JSON");
  });

  it("takes long texts", () => {
    const long = JSON.stringify({ a: "x".repeat(6_000_000), b: '\\"'.repeat(1_000_000) });
    expect(Object.keys(parseObject(Buffer.from(long)))).toEqual(["a", "b"]);
  });
});
