/** Credentials in variables: those of one host by its name, and `MIRROR_USERNAME` for the one registry of a run. */
import type { Credential } from "../content/credential.ts";
import { AppError } from "../errors.ts";

const general = { username: "MIRROR_USERNAME", password: "MIRROR_PASSWORD" } as const;

/**
 * How a host is written in the name of a variable, as Terraform does it: in upper case, `.` and `:` as `_`, `-` as
 * `__`. `my-reg.example:5000` is `MY__REG_EXAMPLE_5000`.
 */
export function hostVariable(host: string): string {
  return host
    .toUpperCase()
    .replaceAll("-", "__")
    .replace(/[^A-Z0-9_]/g, "_");
}

/**
 * The credential for a host in the environment: `MIRROR_AUTH_HOST`, `MIRROR_USERNAME_HOST` with
 * `MIRROR_PASSWORD_HOST`, and, if `isOwner`, `MIRROR_USERNAME` with `MIRROR_PASSWORD`. Throws USAGE for one half
 * without the other.
 */
export function environmentCredential(
  host: string,
  env: NodeJS.ProcessEnv,
  isOwner: boolean,
): Credential | undefined {
  const suffix = hostVariable(host);
  const both = `MIRROR_AUTH_${suffix}`;
  const text = env[both] ?? "";
  if (text !== "") {
    const colon = text.indexOf(":");
    if (colon < 1 || colon === text.length - 1) {
      throw new AppError("USAGE", `Cannot use ${both}: it is not user:password`, {
        hint: "write the user name, a colon and the password, not encoded",
      });
    }
    return { username: text.slice(0, colon), password: text.slice(colon + 1), origin: both };
  }
  return (
    pair(env, `${general.username}_${suffix}`, `${general.password}_${suffix}`) ??
    (isOwner ? pair(env, general.username, general.password) : undefined)
  );
}

/**
 * The registry that `MIRROR_USERNAME` and `MIRROR_PASSWORD` belong to: `target`, otherwise the only one of `hosts`.
 * A password must not go to hosts that it was not meant for, so with several and these variables set it throws USAGE.
 */
export function credentialOwner(
  hosts: Iterable<string>,
  target: string | undefined,
  env: NodeJS.ProcessEnv,
): string | undefined {
  if (target !== undefined) return target;
  const [first, ...others] = new Set(hosts);
  const isSet = (env[general.username] ?? "") !== "" || (env[general.password] ?? "") !== "";
  if (others.length === 0 || !isSet) return others.length === 0 ? first : undefined;
  const names = [first ?? "", ...others].slice(0, 3).map(hostVariable);
  const variables = names.map((name) => `${general.username}_${name} and ${general.password}_${name}`);
  throw new AppError(
    "USAGE",
    `Cannot use ${general.username} and ${general.password}: ${others.length + 1} registries take part, and they are for one`,
    { hint: `name the registry in the variable: ${variables.join(", or ")}` },
  );
}

function pair(
  env: NodeJS.ProcessEnv,
  userVariable: string,
  passwordVariable: string,
): Credential | undefined {
  const username = env[userVariable] ?? "";
  const password = env[passwordVariable] ?? "";
  if (username === "" && password === "") return undefined;
  if (username === "" || password === "") {
    const [set, missing] =
      username === "" ? [passwordVariable, userVariable] : [userVariable, passwordVariable];
    throw new AppError("USAGE", `Cannot use ${set}: ${missing} is not set`, { hint: "set both, or neither" });
  }
  if (username.includes(":")) {
    throw new AppError("USAGE", `Cannot use ${userVariable}: a user name holds no colon`, {
      hint: "write the name alone, and the password into the other variable",
    });
  }
  return { username, password, origin: `${userVariable} and ${passwordVariable}` };
}
