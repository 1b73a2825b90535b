import { Errors } from "@oclif/core";
import { describe, expect, test } from "vitest";
import { reportError } from "../../src/cli/error-report.ts";
import { AppError } from "../../src/errors.ts";
import { RunFailure } from "../../src/sync/outcome.ts";

const quiet = {};
const usage = (message: string): Error => new Errors.CLIError(message, { exit: 2 });

describe("an error of ours", () => {
  const error = new AppError("DISK", "Cannot write a: no space", {
    hint: "make room",
    details: { freeBytes: 1 },
    cause: Object.assign(new Error("ENOSPC: no space"), { code: "ENOSPC" }),
  });

  test("is its message and its hint, without a stack", () => {
    expect(reportError(error, quiet)).toEqual({
      text: "Error: Cannot write a: no space\n  hint: make room",
      json: {
        error: {
          code: "DISK",
          message: "Cannot write a: no space",
          hint: "make room",
          details: { freeBytes: 1 },
        },
      },
      exitCode: 1,
    });
  });

  test("shows its causes with DEBUG, each with its stack", () => {
    const { text, json } = reportError(error, { DEBUG: "1" });
    expect(text).toMatch(/^Error: Cannot write a: no space\n {2}hint: make room\nstack: .*\n +at /);
    expect(text).toMatch(/caused by: Error: ENOSPC: no space\n +at /);
    expect(json).toMatchObject({ error: { causes: [expect.any(String), expect.any(String)] } });
  });

  test("writes no escape sequence of somebody else to the terminal", () => {
    const { text } = reportError(new AppError("REGISTRY", "it said \u001b[2J", { hint: "\u0007" }), {
      DEBUG: "1",
    });
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not be there
    expect(text).not.toMatch(/[\u0000-\u0009\u000b-\u001f]/);
  });
});

describe("an error of oclif's parser", () => {
  test.each([
    ["Nonexistent flag: --bogus\nSee more help with --help", "Nonexistent flag: --bogus"],
    ["Unexpected argument: x\nSee more help with --help", "Unexpected argument: x"],
    [
      "Missing 1 required arg:\nbundle  bundle that mirror pull wrote\nSee more help with --help",
      "Missing BUNDLE: bundle that mirror pull wrote",
    ],
    [
      "Missing 1 required arg:\nbundle  the bundle\n\nNote: --name allows multiple values. Because of this …",
      "Missing BUNDLE: the bundle",
    ],
    [
      "The following error occurred:\n  \u001b[2mMissing required flag to\u001b[22m\nSee more help with --help",
      "Missing --to",
    ],
    [
      "The following errors occurred:\n  Missing required flag to\n  Missing required flag registry",
      "Missing --to; Missing --registry",
    ],
    [
      "Parsing --concurrency \n\tExpected an integer but received: x",
      "Parsing --concurrency: Expected an integer but received: x",
    ],
  ])("is one line: %j", (said, message) => {
    expect(reportError(usage(said), quiet, "mirror pull")).toMatchObject({
      text: `Error: ${message}\n  hint: mirror pull --help shows how to write it`,
      json: { error: { code: "USAGE", message } },
      exitCode: 2,
    });
  });
});

test("a mistake of ours without a hint leads to the help, and keeps its own hint where it has one", () => {
  const bare = new AppError("REFERENCE", 'Cannot read image reference "a:1:2"');
  expect(reportError(bare, quiet, "mirror pull")).toMatchObject({
    text: `Error: ${bare.message}\n  hint: mirror pull --help shows how to write it`,
    json: { error: { code: "REFERENCE" } },
    exitCode: 2,
  });
  const hinted = new AppError("USAGE", "Cannot use it", { hint: "write that" });
  expect(reportError(hinted, quiet, "mirror pull").text).toBe("Error: Cannot use it\n  hint: write that");
});

test("a defect asks for a report, and says where it is with DEBUG alone", () => {
  const defect = new TypeError("x is not a function");
  const { text, exitCode } = reportError(defect, quiet);
  expect(text).toBe(
    "Error: Something went wrong that should not: x is not a function\n" +
      "  hint: run it again with DEBUG=1 and report what it prints",
  );
  expect(exitCode).toBe(1);
  expect(reportError(defect, { DEBUG: "1" }).text).toMatch(
    /caused by: TypeError: x is not a function\n +at /,
  );
});

describe("a run of which images failed", () => {
  const integrity = new AppError("INTEGRITY", "damaged");
  const missing = new AppError("NOT_FOUND", "gone");
  const failed = { image: "b:1", status: "failed" } as const;

  test("does not say again what has been said of a single image", () => {
    const { text, exitCode, json } = reportError(new RunFailure([failed], [missing]), quiet);
    expect([text, exitCode]).toEqual(["", 1]);
    expect(json).toMatchObject({ error: { code: "NOT_FOUND" }, images: [failed] });
  });

  test("counts them, and lists all images as JSON", () => {
    const images = [{ image: "a:1", status: "done" }, failed] as const;
    const { text, exitCode, json } = reportError(new RunFailure(images, [missing], { hint: "go on" }), quiet);
    expect([text, exitCode]).toEqual(["Error: 1 of 2 images failed\n  hint: go on", 3]);
    expect(json).toMatchObject({ error: { code: "PARTIAL" }, images });
  });

  test("calls nothing done where nothing is", () => {
    const images = [{ image: "a:1", status: "done" }, failed] as const;
    const { exitCode, json } = reportError(new RunFailure(images, [missing], { nothingDone: true }), quiet);
    expect(exitCode).toBe(1);
    expect(json).toMatchObject({ images: [{ status: "skipped" }, { status: "failed" }] });
  });

  test("ends with 4 if any content was damaged", () => {
    const images = [{ image: "a:1", status: "done" }, failed] as const;
    expect(reportError(new RunFailure(images, [missing, integrity]), quiet).exitCode).toBe(4);
  });
});
