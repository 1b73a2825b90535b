/** The tables of the README say what is there. */
import { readFile } from "node:fs/promises";
import { Config } from "@oclif/core";
import { expect, test } from "vitest";

interface Row {
  readonly flag: string;
  readonly variable: string;
  readonly commands: readonly string[];
}

const root = new URL("..", import.meta.url);

/** The rows of the table of flags. */
async function rowsOf(): Promise<readonly Row[]> {
  const text = await readFile(new URL("README.md", root), "utf8");
  return text.split("\n").flatMap((line): Row[] => {
    const [, flags, variable = "", commands = ""] = line.split(/(?<!\\)\|/).map((cell) => cell.trim());
    const flag = /`--([\w-]+)/.exec(flags ?? "")?.[1];
    if (!line.startsWith("| `-") || flag === undefined) return [];
    return [{ flag, variable: variable.replaceAll("`", ""), commands: commands.split(/, /) }];
  });
}

test("the README has every flag, with its variable and the commands that take it", async () => {
  const config = await Config.load({ root: new URL("package.json", root).pathname.replace(/[^/]*$/, "") });
  const everywhere = config.commands.map(({ id }) => id).filter((id) => !/^(?:login|logout|help)$/.test(id));
  const taken = new Map<string, { commands: Set<string>; text: string }>();
  for (const { id, flags } of config.commands) {
    if (id === "help") continue;
    for (const [name, flag] of Object.entries(flags)) {
      if (flag.hidden === true) continue;
      const known = taken.get(name) ?? { commands: new Set(), text: "" };
      known.commands.add(id);
      taken.set(name, { ...known, text: `${known.text} ${flag.env ?? ""} ${flag.summary ?? ""}` });
    }
  }
  const rows = await rowsOf();
  expect([...new Set(rows.map(({ flag }) => flag))].sort()).toEqual([...taken.keys()].sort());
  for (const [name, { commands, text }] of taken) {
    const own = rows.filter(({ flag }) => flag === name);
    const said = own.flatMap((row) => row.commands.flatMap((each) => (each === "all" ? everywhere : each)));
    const [only, ...others] = own;
    // What all take is not listed for login and logout, which few flags concern.
    const wanted = only?.commands.includes("all") ? everywhere : [...commands];
    expect([name, [...new Set(said)].sort()]).toEqual([name, expect.arrayContaining(wanted)]);
    expect([name, said.filter((command) => !commands.has(command))]).toEqual([name, []]);
    for (const { variable } of [only, ...others].flatMap((row) => row ?? []))
      expect(text).toContain(variable);
  }
});
