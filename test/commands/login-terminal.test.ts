/** `mirror login` at a real terminal: a pseudo-terminal that util-linux's `script` makes. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { describe, expect, test } from "vitest";
import { type Home, makeHome } from "../credentials/support.ts";
import { onPath } from "../interop/support/tools.ts";
import { startRegistry } from "../registry/registry.ts";
import { cleanEnvironment, programPath } from "../support/cli.ts";

const script = process.platform === "linux" ? await onPath("script") : undefined;

/** A shell command at a terminal: what it shows, and what is typed once a pattern is to be seen. */
class Terminal implements AsyncDisposable {
  shown = "";
  readonly #child: ChildProcess;
  readonly #ended: Promise<unknown>;

  constructor(home: Home, command: string) {
    this.#child = spawn(script ?? "script", ["-qec", command, "/dev/null"], {
      cwd: home.dir.path,
      env: { ...cleanEnvironment(home.dir.path), TERM: "xterm", SHELL: "/bin/sh" },
    });
    this.#ended = once(this.#child, "close");
    this.#child.stdout?.on("data", (chunk: Buffer) => {
      this.shown += chunk.toString("utf8");
    });
  }

  async type(when: RegExp, keys: string): Promise<void> {
    await expect.poll(() => this.shown, { timeout: 20_000, interval: 20 }).toMatch(when);
    this.#child.stdin?.write(keys);
  }

  /** The exit code. */
  async end(): Promise<number | null> {
    await this.#ended;
    return this.#child.exitCode;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode === null) this.#child.kill("SIGKILL");
    await this.#ended;
  }
}

describe.skipIf(script === undefined && process.env["CI"] === undefined)("at a terminal", () => {
  const start = async () => await startRegistry({ auth: { type: "basic", users: { ada: "s3cret-word" } } });
  const login = (host: string): string =>
    `'${process.execPath}' '${programPath}' login ${host} --plain-http ${host}`;

  test("asks for both, shows the user name and not the password", async () => {
    await using home = await makeHome();
    await using registry = await start();
    await using terminal = new Terminal(home, login(registry.host));
    await terminal.type(/User name: $/, "ada\r");
    await terminal.type(/Password for ada: $/, "s3cret-word\r");
    expect(await terminal.end(), terminal.shown).toBe(0);
    expect(terminal.shown).toContain(`logged in to ${registry.host} as ada`);
    expect(terminal.shown).not.toContain("s3cret");
    expect(await readFile(home.dir.join(".docker/config.json"), "utf8")).toContain(registry.host);
  });

  test("Ctrl-C ends it with 130 and gives the terminal back as it was", async () => {
    await using home = await makeHome();
    await using registry = await start();
    const command = `stty -a > before; ${login(registry.host)}; code=$?; stty -a > after; exit $code`;
    await using terminal = new Terminal(home, command);
    await terminal.type(/User name: $/, "ada\r");
    await terminal.type(/Password for ada: $/, "s3cret\u0003");
    expect(await terminal.end(), terminal.shown).toBe(130);
    expect(terminal.shown).not.toContain("s3cret");
    const [before, after] = await Promise.all(
      ["before", "after"].map(async (name) => await readFile(home.dir.join(name), "utf8")),
    );
    expect(before).toContain("icanon");
    expect(after).toBe(before);
    expect(registry.requests).toEqual([]);
  });
});
