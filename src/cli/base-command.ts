/** What all commands share: `--json`, `--quiet`, and how an error reaches the user. */
import { Command } from "@oclif/core";
import { reportError } from "./error-report.ts";
import { baseFlags } from "./flags.ts";
import { checkGiven } from "./given.ts";
import { withInterruption } from "./interruption.ts";
import { Session, type SessionOptions } from "./session.ts";

/** The base of every command. A command parses, calls and returns its result; it does not catch. */
export abstract class MirrorCommand extends Command {
  static override enableJsonFlag = true;
  static override baseFlags = baseFlags;

  override async init(): Promise<void> {
    await super.init();
    checkGiven(this.argv, { ...this.ctor.baseFlags, ...this.ctor.flags }, process.env);
  }

  protected override async catch(error: Error): Promise<void> {
    const report = reportError(withInterruption(error), process.env, `${this.config.bin} ${this.id ?? ""}`);
    process.exitCode = report.exitCode;
    if (this.jsonEnabled()) this.logJson(report.json);
    else if (report.text !== "") process.stderr.write(`${report.text}\n`);
  }

  /** One run of the command, which its flags and `verb` tell the reporter about. Dispose of it with `using`. */
  protected begin(
    verb: string,
    flags: { readonly quiet: boolean },
    { plain = false }: Pick<SessionOptions, "plain"> = {},
  ): Session {
    return new Session({ quiet: flags.quiet || this.jsonEnabled(), plain, verb, again: this.#typed });
  }

  /** The command as it was typed, for messages that tell to run it again. */
  get #typed(): string {
    const words = [this.config.bin, this.id ?? "", ...this.argv].map((word) =>
      /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`,
    );
    return words.join(" ");
  }
}
