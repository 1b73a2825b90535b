/** Sizes as people write them: `16MiB`, `90MB`. */
import { AppError } from "../errors.ts";

/** What a size looks like; also the pattern in the JSON Schema, hence without flags. */
export const byteSizePattern = /^[0-9]+(?:\.[0-9]+)? ?(?:[kKMG]i?)?B$/;

const exponents: Readonly<Record<string, number>> = { "": 0, k: 1, m: 2, g: 3 };

/**
 * The number of bytes that the text names, rounded to a whole one. `KiB`, `MiB`, `GiB` count in 1024s; `kB`, `MB`,
 * `GB` in 1000s. Throws USAGE for anything else.
 */
export function parseByteSize(text: string): number {
  if (!byteSizePattern.test(text)) {
    throw new AppError("USAGE", `Cannot read size ${JSON.stringify(text)}: expected a number and a unit`, {
      hint: "write it like 16MiB or 90MB",
    });
  }
  const unit = text.replace(/^[0-9.]+ ?/, "");
  const base = unit.includes("i") ? 1024 : 1000;
  const exponent = exponents[unit.replace(/i?B$/, "").toLowerCase()] ?? 0;
  return Math.round(Number.parseFloat(text) * base ** exponent);
}
