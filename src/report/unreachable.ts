/** The end of an exhaustive switch: a union that grows makes the call a type error. */
import { AppError } from "../errors.ts";

/** Never called with a value of the declared type; throws INTERNAL if types were lied to. */
export function unreachable(value: never): never {
  throw new AppError("INTERNAL", `Cannot handle ${JSON.stringify(value)}: the case is not known`);
}
