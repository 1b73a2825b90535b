/** A target that takes a manifest only with all of its parts says that it lacks some. */
import { AppError } from "../errors.ts";
import type { Digest } from "../oci/digest.ts";

/**
 * Thrown by {@link Target} for a manifest whose parts it does not have, whatever it said about them before: who copies
 * sends these for real and tries again. `digests` are those that it names; empty if it names none.
 */
export class MissingParts extends AppError {
  readonly digests: readonly Digest[];

  constructor(refusal: AppError, digests: readonly Digest[]) {
    const { hint, details, side } = refusal;
    super(refusal.code, refusal.message, { hint, side, details, cause: refusal });
    this.digests = digests;
  }
}
