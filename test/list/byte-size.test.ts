import { describe, expect, it } from "vitest";
import { parseByteSize } from "../../src/list/byte-size.ts";

describe("parseByteSize", () => {
  it.each([
    ["0B", 0],
    ["5B", 5],
    ["1kB", 1000],
    ["1KB", 1000],
    ["1KiB", 1024],
    ["90MB", 90_000_000],
    ["16MiB", 16_777_216],
    ["16 MiB", 16_777_216],
    ["2GB", 2_000_000_000],
    ["1.5GiB", 1_610_612_736],
    ["0.1KiB", 102],
  ])("%s is %i bytes", (text, bytes) => expect(parseByteSize(text)).toBe(bytes));

  it.each(["", "5", "MiB", "5M", "5mib", "-5MB", "5TB", "5 M B", "1e3MB", "5MB\n", "0x5MB", "1.MB"])(
    "refuses %j",
    (text) => {
      expect(() => parseByteSize(text)).toThrow(
        expect.objectContaining({ code: "USAGE", hint: "write it like 16MiB or 90MB" }),
      );
    },
  );
});
