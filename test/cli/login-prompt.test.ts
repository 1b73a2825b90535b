import { expect, test } from "vitest";
import { promptLogin } from "../../src/cli/login-prompt.ts";
import { failureOf } from "../registry-client/support.ts";

/** A terminal with keys that are typed already; it remembers what was shown and whether it is raw. */
class Terminal implements AsyncIterable<Uint8Array> {
  readonly isTTY = true;
  readonly modes: boolean[] = [];
  shown = "";
  readonly #chunks: readonly Uint8Array[];

  constructor(...chunks: readonly (string | Uint8Array)[]) {
    this.#chunks = chunks.map((chunk) => Buffer.from(chunk));
  }

  setRawMode(raw: boolean): void {
    this.modes.push(raw);
  }

  write(text: string): void {
    this.shown += text;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void> {
    for (const chunk of this.#chunks) yield chunk;
  }
}

const prompt = async (terminal: Terminal, username?: string) =>
  await promptLogin(terminal, terminal, username);
const split = Buffer.from("pä\r");

test.each<readonly [string, readonly (string | Uint8Array)[], string, string]>([
  ["typed key by key", "ada\rpw\r".split(""), "ada", "pw"],
  ["pasted at once", ["ada\npw\n"], "ada", "pw"],
  ["corrected", ["adx\u007fa\r", "no\u0015wrong\b\b\b\b\bpw\r"], "ada", "pw"],
  ["with keys that write nothing", ["a\u001b[Dda\u001b[3~\t\r", "p\u001bOHw\r"], "ada", "pw"],
  ["with spaces and colons", ["ada b\r", " p:w \r"], "ada b", " p:w "],
  ["with a character in two parts", ["ada\r", split.subarray(0, 2), split.subarray(2)], "ada", "pä"],
])("an answer %s", async (_how, chunks, username, password) => {
  const terminal = new Terminal(...chunks);
  expect(await prompt(terminal)).toEqual({ username, password });
  expect(terminal.modes).toEqual([true, false]);
});

test("the user name is shown, the password is not", async () => {
  const terminal = new Terminal("adx\u007fa\rs3cret\r");
  await prompt(terminal);
  expect(terminal.shown).toBe("User name: adx\b \ba\r\nPassword for ada: \r\n");
});

test("a user name that is known is not asked for", async () => {
  const terminal = new Terminal("pw\r");
  expect(await prompt(terminal, "ada")).toEqual({ username: "ada", password: "pw" });
  expect(terminal.shown).toBe("Password for ada: \r\n");
});

test.each([
  ["Ctrl-C", ["ada\rs3\u0003"], "INTERRUPTED", 130],
  ["Ctrl-D", ["ada\r\u0004"], "INTERRUPTED", 130],
  ["the end of the input", ["ada\r"], "INTERRUPTED", 130],
  ["no user name", ["\r"], "USAGE", 2],
  ["no password", ["ada\r\r"], "USAGE", 2],
])("%s ends it, with the terminal as it was", async (_what, chunks, code, exitCode) => {
  const terminal = new Terminal(...chunks);
  const error = await failureOf(prompt(terminal));
  expect([error.code, error.exitCode]).toEqual([code, exitCode]);
  expect(terminal.modes).toEqual([true, false]);
  expect(terminal.shown.endsWith("\r\n")).toBe(true);
});
