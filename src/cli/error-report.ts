/** An error as a person reads it, as `--json` prints it, and as an exit code. */
import { stripVTControlCharacters } from "node:util";
import { Errors } from "@oclif/core";
import { AppError, exitCodes, hinted, toAppError } from "../errors.ts";
import { quoted, withoutLogins } from "../oci/shown.ts";
import { escapeControl, formatError } from "../report/format.ts";
import { formatFailed } from "../report/summary.ts";
import { IncompleteImages } from "../sync/describe.ts";
import { RunFailure } from "../sync/outcome.ts";
import { isDebug } from "./debug.ts";
import { LackingBase } from "./lacking-base.ts";

export interface ErrorReport {
  /** Empty if everything has been said already. */
  readonly text: string;
  readonly json: object;
  readonly exitCode: number;
}

/**
 * Turns any thrown value into what to print. With `DEBUG` set, the chain of causes follows, with stacks. `command`
 * is what was called, for the hint that leads to its help: `mirror pull`.
 */
export function reportError(thrown: unknown, env: NodeJS.ProcessEnv, command = "mirror"): ErrorReport {
  const error = fromOclif(thrown, command);
  const debug = isDebug(env) ? causes(error) : [];
  return {
    text: [...visible(error), ...debug].join("\n"),
    json: {
      error: {
        code: error.code,
        message: error.message,
        ...(error.hint === undefined ? {} : { hint: error.hint }),
        ...(error.details === undefined ? {} : { details: error.details }),
        ...(debug.length === 0 ? {} : { causes: debug }),
      },
      ...(error instanceof RunFailure || error instanceof IncompleteImages ? { images: error.images } : {}),
      ...(error instanceof LackingBase ? { missing: error.missing } : {}),
    },
    exitCode: error.exitCode,
  };
}

function visible(error: AppError): readonly string[] {
  if (error instanceof RunFailure) {
    // Each failure was a line of its own when it happened: of few images there is no more to say.
    const failed = formatFailed(
      error.images.map((image) => (image.status === "waiting" ? { image: image.image } : image)),
    );
    const lines = error.images.length > 1 ? [`Error: ${error.message}`] : [];
    if (failed !== "") lines.unshift(failed);
    return error.hint === undefined ? lines : [...lines, `  hint: ${escapeControl(error.hint)}`];
  }
  return [`Error: ${formatError(error)}`];
}

/** oclif's parser has messages of its own, a heading with lines below it; all of them are about usage. */
function fromOclif(thrown: unknown, command: string): AppError {
  const help = `${command} --help shows how to write it`;
  if (thrown instanceof AppError) {
    // Whoever wrote something wrong is never left without a way on.
    return thrown.exitCode !== exitCodes.usage || thrown.hint !== undefined ? thrown : hinted(thrown, help);
  }
  if (!(thrown instanceof Errors.CLIError)) return unexpected(thrown);
  const usage = thrown.oclif.exit === exitCodes.usage;
  const unknown = /^command (.+) not found\.?$/is.exec(stripVTControlCharacters(thrown.message))?.[1];
  if (unknown !== undefined)
    return new AppError("USAGE", `There is no command ${quoted(unknown)}`, {
      hint: "mirror --help shows all commands",
      cause: thrown,
    });
  const [heading = "", ...lines] = stripVTControlCharacters(thrown.message)
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("See more help"));
  return new AppError(usage ? "USAGE" : "INTERNAL", withoutLogins(usageMessage(heading, lines)), {
    hint: help,
    cause: thrown,
  });
}

/** The headings say less than what stands below them: `Missing 1 required arg:`, and then its name. */
function usageMessage(heading: string, lines: readonly string[]): string {
  if (lines.length === 0) return heading;
  if (heading.startsWith("Missing")) {
    // Below the arguments stands a note on flags that take several values, which is not true of ours.
    const named = lines.flatMap((line) => {
      const [, name, description] = /^(\w+) {2,}(.+)$/.exec(line) ?? [];
      return name === undefined ? [] : `${name.toUpperCase()}: ${description ?? ""}`;
    });
    return `Missing ${named.join("; ")}`;
  }
  const said = lines.map((line) => line.replace(/^Missing required flag (?=\w)/, "Missing --")).join("; ");
  return heading.startsWith("The following error") ? said : `${heading}: ${said}`;
}

function unexpected(thrown: unknown): AppError {
  const error = toAppError(thrown);
  return new AppError("INTERNAL", `Something went wrong that should not: ${error.message}`, {
    hint: "run it again with DEBUG=1 and report what it prints",
    cause: thrown,
  });
}

function causes(error: AppError): readonly string[] {
  const lines: string[] = [];
  for (let at: unknown = error, depth = 0; at instanceof Error && depth < 10; at = at.cause, depth += 1) {
    const details =
      at instanceof AppError && at.details !== undefined ? ` ${JSON.stringify(at.details)}` : "";
    lines.push(
      `${depth === 0 ? "stack" : "caused by"}: ${withoutLogins(escapeLines(at.stack ?? at.message))}${details}`,
    );
  }
  return lines;
}

function escapeLines(text: string): string {
  return text.split("\n").map(escapeControl).join("\n");
}
