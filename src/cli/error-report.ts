/** An error as a person reads it, as `--json` prints it, and as an exit code. */
import { Errors } from "@oclif/core";
import { AppError, exitCodes, toAppError } from "../errors.ts";
import { escapeControl, formatError } from "../report/format.ts";
import { RunFailure } from "../sync/outcome.ts";

export interface ErrorReport {
  /** Empty if everything has been said already. */
  readonly text: string;
  readonly json: object;
  readonly exitCode: number;
}

/** Turns any thrown value into what to print. With `DEBUG` set, the chain of causes follows, with stacks. */
export function reportError(thrown: unknown, env: NodeJS.ProcessEnv): ErrorReport {
  const error = fromOclif(thrown);
  const debug = (env["DEBUG"] ?? "") !== "" ? causes(error) : [];
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
      ...(error instanceof RunFailure ? { images: error.images } : {}),
    },
    exitCode: error.exitCode,
  };
}

function visible(error: AppError): readonly string[] {
  if (error instanceof RunFailure) {
    // Each failure was a line of its own when it happened: of one image there is no more to say.
    const lines = error.images.length > 1 ? [`Error: ${error.message}`] : [];
    return error.hint === undefined ? lines : [...lines, `  hint: ${escapeControl(error.hint)}`];
  }
  return [`Error: ${formatError(error)}`];
}

/** oclif's parser has messages of its own; all of them are about usage. */
function fromOclif(thrown: unknown): AppError {
  if (thrown instanceof AppError) return thrown;
  if (thrown instanceof Errors.CLIError) {
    const [message = "", ...more] = thrown.message.split("\n").filter((line) => line.trim() !== "");
    const hint = more.find((line) => !/^See more help/.test(line)) ?? thrown.suggestions?.join(", ");
    const usage = thrown.oclif.exit === exitCodes.usage;
    return new AppError(usage ? "USAGE" : "INTERNAL", message, {
      hint: hint ?? "mirror --help shows the commands and their flags",
      cause: thrown,
    });
  }
  return unexpected(thrown);
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
    lines.push(`${depth === 0 ? "stack" : "caused by"}: ${escapeLines(at.stack ?? at.message)}${details}`);
  }
  return lines;
}

function escapeLines(text: string): string {
  return text.split("\n").map(escapeControl).join("\n");
}
