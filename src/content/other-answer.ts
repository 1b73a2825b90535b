/** What came was not the content at all, and none of it was passed on. */
import { AppError, type AppErrorOptions } from "../errors.ts";

/**
 * Thrown by a {@link Source} in the place of content: a proxy or a login page answered, or a server with something of
 * another size. So it says nothing of the bytes that came before. `passing`: it may be the content the next time.
 */
export class OtherAnswer extends AppError {
  readonly passing: boolean;

  constructor(message: string, options: AppErrorOptions & { readonly passing: boolean }) {
    super("INTEGRITY", message, options);
    this.passing = options.passing;
  }
}
