/**
 * The one error class of the program, and the table that turns its codes into exit codes.
 * Floor 0: imports nothing. Messages say what could not be done, then a colon and the state; the hint says
 * what the user can do about it. Neither ever holds a credential.
 */

/** Every failure a user can meet, as a closed union. */
export type ErrorCode =
  | "USAGE" // a flag, an argument or a combination of them
  | "LIST" // the image list
  | "REFERENCE" // an image reference
  | "NETWORK" // no connection, or one that broke
  | "TLS" // certificate or scheme
  | "AUTH" // credentials are missing or refused
  | "DENIED" // credentials are good, the right is missing
  | "NOT_FOUND" // image, tag, blob, file
  | "REGISTRY" // any other answer of a registry
  | "INTEGRITY" // content does not match its digest, size or structure
  | "BUNDLE" // not a bundle, or one that this version cannot read
  | "DISK" // space, permission, I/O
  | "CONFLICT" // two things that exclude each other
  | "PARTIAL" // some images failed, the others are done
  | "INTERRUPTED"
  | "INTERNAL";

/** Which side of a transfer failed. */
export type Side = "source" | "target";

/** Exit codes: 0 done, and these. The table stands in the README too. */
export const exitCodes = {
  failed: 1,
  usage: 2,
  partial: 3,
  integrity: 4,
  interrupted: 130,
} as const;

const exitCodeOf: Readonly<Partial<Record<ErrorCode, number>>> = {
  USAGE: exitCodes.usage,
  LIST: exitCodes.usage,
  REFERENCE: exitCodes.usage,
  PARTIAL: exitCodes.partial,
  INTEGRITY: exitCodes.integrity,
  INTERRUPTED: exitCodes.interrupted,
};

/** Options of {@link AppError}; all may be left out. */
export interface AppErrorOptions {
  /** What the user can do about it: an imperative sentence. */
  readonly hint?: string | undefined;
  readonly side?: Side | undefined;
  readonly cause?: unknown;
  /** Plain facts for `--json`: host, status, digest … Never a secret. */
  readonly details?: Readonly<Record<string, string | number | boolean | readonly string[]>> | undefined;
}

/** A failure with a code, and where possible the way out. */
export class AppError extends Error {
  override readonly name = "AppError";
  readonly code: ErrorCode;
  readonly hint: string | undefined;
  readonly side: Side | undefined;
  readonly details: AppErrorOptions["details"];

  constructor(code: ErrorCode, message: string, options: AppErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.hint = options.hint;
    this.side = options.side;
    this.details = options.details;
  }

  /** The exit code of a program that ends with this error. */
  get exitCode(): number {
    return exitCodeOf[this.code] ?? exitCodes.failed;
  }
}

/** True for an {@link AppError}, with one of `codes` if any are given. */
export function isAppError(error: unknown, ...codes: readonly ErrorCode[]): error is AppError {
  return error instanceof AppError && (codes.length === 0 || codes.includes(error.code));
}

/** The same failure with another way out. */
export function hinted(error: AppError, hint: string): AppError {
  return new AppError(error.code, error.message, { hint, details: error.details, cause: error });
}

/** Any thrown value as an AppError; what is not one already becomes INTERNAL with the value as its cause. */
export function toAppError(error: unknown): AppError {
  if (error instanceof AppError) return error;
  if (error instanceof Error) return new AppError("INTERNAL", error.message, { cause: error });
  return new AppError("INTERNAL", String(error));
}

/** The system's error code (`ENOSPC`, `ECONNREFUSED` …) of a thrown value or of one of its causes. */
export function systemCode(error: unknown): string | undefined {
  for (let at: unknown = error, depth = 0; at instanceof Error && depth < 8; depth += 1) {
    if ("code" in at && typeof at.code === "string" && !(at instanceof AppError)) return at.code;
    // Happy eyeballs wraps one error per address (AggregateError); the first one tells as much as the others.
    at = at.cause ?? (at instanceof AggregateError ? at.errors[0] : undefined);
  }
  return undefined;
}
