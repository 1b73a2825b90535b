import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { AppError } from "../../src/errors.ts";
import {
  cutToWidth,
  displayWidth,
  escapeControl,
  formatBytes,
  formatDuration,
  formatError,
  formatRate,
  plural,
  table,
} from "../../src/report/format.ts";

const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

describe("formatBytes", () => {
  it.each([
    [0, "0 B"],
    [1023, "1023 B"],
    [1024, "1.0 KiB"],
    [1536, "1.5 KiB"],
    [1024 ** 2 - 1, "1.0 MiB"],
    [412 * 1024 ** 2, "412.0 MiB"],
    [1.5 * 1024 ** 3, "1.5 GiB"],
    [3 * 1024 ** 4, "3.0 TiB"],
    [Number.MAX_SAFE_INTEGER, "8.0 PiB"],
  ])("writes %d bytes as %s", (bytes, text) => {
    expect(formatBytes(bytes)).toBe(text);
  });

  it("stays within a twentieth of a unit of the value, and under 1024 of each unit", () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), (bytes) => {
        const [figure = "", unit = ""] = formatBytes(bytes).split(" ");
        const scale = 1024 ** units.indexOf(unit);
        expect(Number(figure)).toBeLessThan(1024);
        expect(Math.abs(Number(figure) * scale - bytes)).toBeLessThanOrEqual(scale * 0.0501);
      }),
    );
  });

  it("rounds rates, which are seldom whole", () => {
    expect(formatRate(102_865_305.7)).toBe("98.1 MiB/s");
    expect(formatRate(0.4)).toBe("0 B/s");
  });
});

describe("formatDuration", () => {
  it.each([
    [0, "0 s"],
    [0.04, "0 s"],
    [12.44, "12.4 s"],
    [17, "17 s"],
    [59.97, "1 min"],
    [60, "1 min"],
    [200, "3 min 20 s"],
    [3599.6, "1 h"],
    [7500, "2 h 5 min"],
    [86_399, "1 d"],
    [97_200, "1 d 3 h"],
  ])("writes %d seconds as %s", (seconds, text) => {
    expect(formatDuration(seconds)).toBe(text);
  });

  it("is right to half of its smallest unit, and never shows 60 of one", () => {
    const seconds: Readonly<Record<string, number>> = { s: 1, min: 60, h: 3600, d: 86_400 };
    fc.assert(
      fc.property(fc.double({ min: 0, max: 1e7, noNaN: true }), (time) => {
        const words = formatDuration(time).split(" ");
        let sum = 0;
        for (let at = 0; at < words.length; at += 2) {
          const unit = words[at + 1] ?? "";
          expect(Number(words[at])).toBeLessThan(unit === "d" ? 1000 : unit === "h" ? 24 : 60);
          sum += Number(words[at]) * (seconds[unit] ?? Number.NaN);
        }
        const step = time < 59.9 ? 0.1 : time < 3599 ? 1 : time < 86_300 ? 60 : 3600;
        expect(Math.abs(sum - time)).toBeLessThanOrEqual(step / 2 + 1e-6);
      }),
    );
  });
});

describe("plural", () => {
  it("takes the singular for one only", () => {
    expect([0, 1, 2].map((count) => plural(count, "image"))).toEqual(["0 images", "1 image", "2 images"]);
    expect(plural(2, "registry", "registries")).toBe("2 registries");
  });
});

describe("escapeControl", () => {
  it("shows escapes, line ends and marks that reorder text", () => {
    expect(escapeControl("a\x1b[31mred\r\n\x9b2J\x7f\u202Eb")).toBe(
      "a\\x1B[31mred\\x0D\\x0A\\x9B2J\\x7F\\u202Eb",
    );
  });

  it("lets no control character through and keeps every other one", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (text) => {
        const safe = escapeControl(text);
        expect(safe).not.toMatch(/[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/u);
        if (!/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u.test(text)) expect(safe).toBe(text);
      }),
      { examples: [["\u0000\u001f\u0080\u009f"], ["Zürich 東京"]] },
    );
  });
});

describe("formatError", () => {
  it("puts the hint on a line of its own", () => {
    const error = new AppError("TLS", "Cannot reach r.internal: it speaks plain HTTP", {
      hint: "add --plain-http r.internal",
    });
    expect(formatError(error)).toBe(
      "Cannot reach r.internal: it speaks plain HTTP\n  hint: add --plain-http r.internal",
    );
    expect(formatError(new AppError("TLS", "no"))).toBe("no");
  });

  it("does not let a server forge a hint or an escape", () => {
    const error = new AppError("REGISTRY", "it says: no\n  hint: run this\x1b[2J\n", { hint: "ask\nme" });
    expect(formatError(error)).toBe("it says: no\n  |   hint: run this\\x1B[2J\n  hint: ask\\x0Ame");
  });
});

describe("displayWidth and cutToWidth", () => {
  it("counts cells, not code units, and no escapes", () => {
    expect(displayWidth("abc")).toBe(3);
    expect(displayWidth("\x1b[31mabc\x1b[0m")).toBe(3);
    expect(displayWidth("東京")).toBe(4);
    expect(displayWidth("🐳")).toBe(2);
    expect(displayWidth("e\u0301")).toBe(1);
    expect(displayWidth("█░")).toBe(2);
  });

  it("cuts to the longest beginning that fits", () => {
    expect(cutToWidth("東京", 3)).toBe("東");
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), fc.nat({ max: 20 }), (text, cells) => {
        const safe = escapeControl(text);
        const cut = cutToWidth(safe, cells);
        expect(safe.startsWith(cut)).toBe(true);
        expect(displayWidth(cut)).toBeLessThanOrEqual(cells);
        const [next] = safe.slice(cut.length);
        if (next !== undefined) expect(displayWidth(cut + next)).toBeGreaterThan(cells);
      }),
    );
  });
});

describe("table", () => {
  it("aligns columns and leaves no trailing spaces", () => {
    const text = table(
      [
        ["NAME", "SIZE", "PLATFORM"],
        ["nginx:1.27", "12.0 MiB", "linux/amd64"],
        ["a", "512 B", ""],
      ],
      { align: ["left", "right"] },
    );
    expect(text.split("\n")).toEqual([
      "NAME            SIZE  PLATFORM",
      "nginx:1.27  12.0 MiB  linux/amd64",
      "a              512 B",
    ]);
  });

  it("escapes cells and takes rows of any length", () => {
    expect(table([["a\tb"], ["c", "d"]])).toBe("a\\x09b\nc       d");
    expect(table([])).toBe("");
  });

  it("starts every column at the same cell", () => {
    const cell = fc
      .string({ unit: "grapheme", minLength: 1, maxLength: 8 })
      .filter((text) => !/\s/u.test(text));
    fc.assert(
      fc.property(fc.array(fc.tuple(cell, cell, cell), { minLength: 1 }), (rows) => {
        const lines = table(rows, { align: ["left", "right", "left"] }).split("\n");
        const starts = lines.map((line, index) => {
          const last = escapeControl(rows[index]?.[2] ?? "");
          expect(line).toBe(line.trimEnd());
          return displayWidth(line.slice(0, line.length - last.length));
        });
        expect(new Set(starts).size).toBe(1);
      }),
    );
  });
});
