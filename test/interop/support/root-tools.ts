/** Programs of this machine that want root: runtimes, and what builds or unpacks images. */
import { onPath } from "./tools.ts";

/**
 * Absolute paths of programs by name, or undefined (after one loud line on stderr) where one is not on PATH or this
 * user is not root. With CI set in the environment a missing program is an error: there, a skipped test would look
 * like a passed one.
 */
export async function rootTools<Name extends string>(
  ...names: readonly [Name, ...Name[]]
): Promise<Readonly<Record<Name, string>> | undefined> {
  const found = await Promise.all(names.map(async (name) => [name, await onPath(name)] as const));
  const absent = found.flatMap(([name, path]) => (path === undefined ? [name] : []));
  if (absent.length === 0 && process.getuid?.() === 0)
    return Object.fromEntries(found) as Readonly<Record<Name, string>>;
  const reason = absent.length > 0 ? `${absent.join(", ")} not on PATH` : "not root";
  const message = `TESTS WITH ${names.join(" AND ")} CANNOT RUN: ${reason}`;
  if (absent.length > 0 && (process.env["CI"] ?? "") !== "") throw new Error(message);
  console.error(message);
  return undefined;
}
