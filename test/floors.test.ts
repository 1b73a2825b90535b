import { describe, expect, test } from "vitest";
import { checkFloors, importsOf } from "./tools/floors.ts";
import { readSources } from "./tools/source-files.ts";

/** A file of src/ with these lines. */
function file(path: string, ...lines: readonly string[]) {
  return { path: `src/${path}`, text: `${lines.join("\n")}\n` };
}

describe("the floors of src/", () => {
  test("the project keeps them", async () => {
    const sources = await readSources();
    expect(sources.map(({ path }) => path)).toContain("src/errors.ts");
    expect(checkFloors(sources)).toEqual([]);
  });
});

describe("the checker allows", () => {
  test("imports from lower floors and from the same folder", () => {
    const files = [
      file("errors.ts"),
      file("oci/digest.ts", 'import { AppError } from "../errors.ts";'),
      file("content/content.ts", 'import type { Digest } from "../oci/digest.ts";'),
      file("sync/events.ts", 'import type { Digest } from "../oci/digest.ts";'),
      file("sync/copy.ts", 'import type { Emit } from "./events.ts";'),
      file("report/lines.ts", 'import type { Emit } from "../sync/events.ts";', "console.log(1);"),
      file("cli/base.ts", 'import { Copy } from "../sync/copy.ts";', "process.stdout.write('x');"),
      file("commands/pull.ts", 'import { Base } from "../cli/base.ts";', "process.stderr.write('x');"),
    ];
    expect(checkFloors(files)).toEqual([]);
  });

  test("packages, and forbidden words in comments and strings", () => {
    const files = [
      file(
        "sync/copy.ts",
        'import pLimit from "p-limit";',
        "// never console.log here",
        '/* from "../registry/http.ts" */',
        'const text = "console.log and process.stdout";',
        "const pattern = /[\"'`]/;",
        'const url = "http://example.test"; // process.stderr',
      ),
    ];
    expect(checkFloors(files)).toEqual([]);
  });

  test("a file of 299 lines", () => {
    expect(checkFloors([file("oci/long.ts", ...Array<string>(299).fill("//"))])).toEqual([]);
  });
});

describe("the checker refuses", () => {
  test.each([
    ["an upward import", file("oci/digest.ts", 'import { copy } from "../sync/copy.ts";'), "imports upward"],
    ["cli that knows a command", file("cli/a.ts", 'import { b } from "../commands/b.ts";'), "imports upward"],
    ["a sibling", file("sync/copy.ts", 'import { http } from "../registry/http.ts";'), "sibling"],
    ["a sibling's type", file("list/a.ts", 'import type { A } from "../bundle/b.ts";'), "sibling"],
    ["a dynamic import", file("bundle/a.ts", 'const a = await import("../list/b.ts");'), "sibling"],
    ["a re-export", file("serve/a.ts", 'export { a } from "../report/b.ts";'), "sibling"],
    ["an import for its effects", file("registry/a.ts", 'import "../sync/b.ts";'), "sibling"],
    ["an import type", file("registry/a.ts", 'type A = import("../sync/b.ts").A;'), "sibling"],
    [
      "an import over several lines",
      file("list/a.ts", "import {", "  b,", '} from "../sync/b.ts";'),
      "sibling",
    ],
    ["report in the machinery of sync", file("report/a.ts", 'import { b } from "../sync/copy.ts";'), "only"],
    [
      "an import that leaves src/",
      file("oci/a.ts", 'import { a } from "../../test/a.ts";'),
      "outside of src/",
    ],
    ["a folder without a floor", file("helpers/a.ts"), "stands on no floor"],
    [
      "console outside of the printers",
      file("sync/a.ts", "console.error(1);"),
      "src/sync/a.ts:1 prints (console)",
    ],
    [
      "stdout outside of the printers",
      file("oci/a.ts", "", "process.stdout.write('')"),
      "src/oci/a.ts:2 prints",
    ],
    [
      "stderr below a template",
      file("list/a.ts", "const a = `b`;", "process.stderr.end()"),
      "src/list/a.ts:2 prints",
    ],
    ["a file of 300 lines", file("oci/a.ts", ...Array<string>(300).fill("//")), "has 300 lines"],
  ])("%s", (_name, source, message) => {
    const problems = checkFloors([source]);
    expect(problems).toHaveLength(1);
    expect(problems[0]).toContain(message);
  });

  test("an import cycle, also inside one folder", () => {
    const files = [
      file("oci/a.ts", 'import { b } from "./b.ts";'),
      file("oci/b.ts", 'import type { c } from "./c.ts";'),
      file("oci/c.ts", 'import { a } from "./a.ts";'),
    ];
    expect(checkFloors(files)).toEqual([
      "import cycle: src/oci/a.ts → src/oci/b.ts → src/oci/c.ts → src/oci/a.ts",
    ]);
  });
});

test("importsOf finds every kind of import", () => {
  const text = [
    'import a from "a";',
    "import * as b from 'b';",
    'import "c";',
    'export * from "d";',
    'const e = await import("e");',
    'import type { F } from "f";',
    '// import g from "g";',
    '/** like `import h from "h"` */',
  ].join("\n");
  expect(importsOf(text)).toEqual(["a", "b", "c", "d", "e", "f"]);
});
