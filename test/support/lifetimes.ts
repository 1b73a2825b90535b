/** What tests work with, made before them and put away behind them. */
import { beforeAll, beforeEach } from "vitest";

/** Makes something anew before each test, tells `give` of it, and disposes of it after the test. */
export function eachTest<T extends AsyncDisposable>(
  make: () => Promise<T>,
  give: (made: T) => void | Promise<void>,
): void {
  beforeEach(async () => await lent(make, give));
}

/** The same, once for all tests of a file or of a `describe`. */
export function allTests<T extends AsyncDisposable>(
  make: () => Promise<T>,
  give: (made: T) => void | Promise<void>,
): void {
  beforeAll(async () => await lent(make, give));
}

/** Gives what ends the life of it. */
async function lent<T extends AsyncDisposable>(
  make: () => Promise<T>,
  give: (made: T) => void | Promise<void>,
): Promise<() => Promise<void>> {
  const made = await make();
  try {
    await give(made);
  } catch (error) {
    await made[Symbol.asyncDispose]();
    throw error;
  }
  return async () => await made[Symbol.asyncDispose]();
}
