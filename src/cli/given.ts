/** What is wrong with any command line, whatever the command: looked for before it is parsed. */
import { AppError } from "../errors.ts";
import { isUrlWithLogin, quoted, withoutLogin } from "../oci/shown.ts";

/** What is to be known of a flag: oclif's definition has it. */
export interface KnownFlag {
  readonly type: string;
  readonly char?: string | undefined;
  readonly env?: string | undefined;
}

const spoken = /^(?:1|0|true|false|y|n|yes|no)$/i;
/** Variables that hold credentials, and are read elsewhere. */
const secretVariables = /^MIRROR_(?:AUTH_|PASSWORD|USERNAME)/;

/**
 * Throws USAGE for a URL with a login (of use nowhere, and whatever is said of it later would tell the login), for a
 * value that is empty (a variable of a script that is not set), and for a switch that is neither on nor off.
 */
export function checkGiven(
  argv: readonly string[],
  flags: Readonly<Record<string, KnownFlag>>,
  env: NodeJS.ProcessEnv,
): void {
  const variables = Object.entries(env).filter(
    ([name]) => name.startsWith("MIRROR_") && !secretVariables.test(name),
  );
  const values = argv.map((word) => word.replace(/^--[\w-]+=/, ""));
  for (const text of [...values, ...variables.map(([, value]) => value ?? "")]) {
    if (!isUrlWithLogin(text)) continue;
    throw new AppError("USAGE", `Cannot use ${withoutLogin(text)}: it holds a login`, {
      hint: "leave it out, and log in to the registry: mirror login HOST",
    });
  }
  for (const [at, word] of argv.entries()) {
    const named = word === "" ? argv[at - 1] : /^(--[\w-]+)=$/.exec(word)?.[1];
    if (word !== "" && named === undefined) continue;
    const flag = flagOf(named ?? "", flags);
    // An empty user name is one that is asked for.
    if (flag === "--username") continue;
    throw new AppError("USAGE", `Cannot use ${flag ?? "an argument"}: it is empty`, {
      hint: "write a value, or check the variable that it comes from",
    });
  }
  for (const { type, env: name = "" } of Object.values(flags)) {
    const value = env[name] ?? "";
    if (type !== "boolean" || value === "" || spoken.test(value)) continue;
    throw new AppError("USAGE", `Cannot use ${name}: ${quoted(value, 40)} is neither true nor false`, {
      hint: `write ${name}=true or ${name}=false`,
    });
  }
}

/** The flag that a word names, in its long form, if it takes a value. */
function flagOf(word: string, flags: Readonly<Record<string, KnownFlag>>): string | undefined {
  const found = Object.entries(flags).find(
    ([name, { type, char }]) => type === "option" && (word === `--${name}` || word === `-${char ?? " "}`),
  );
  return found === undefined ? undefined : `--${found[0]}`;
}
