/** The keys of a registry that say who we are there. Their values are secrets: no message shows one. */
import { z } from "zod";

/** Who we are to a registry: a user name, and one of the three places of a password. */
export interface RegistryLogin {
  readonly username: string;
  /** Written in the list itself. */
  readonly password?: string;
  /** A file that holds the password. Absolute if the list's folder was known. */
  readonly passwordFile?: string;
  /** The environment variable that holds the password. */
  readonly passwordVariable?: string;
  /** Where the user name was written: `manifests.yaml:12:5`. */
  readonly place: string;
}

const passwordKeys = ["password", "passwordFile", "passwordVariable"] as const;

function text(expected: string) {
  return z.string(expected).min(1, expected).exactOptional();
}

/** The keys, for the schema of a registry. */
export const loginKeys = {
  username: text("expected a user name").describe(
    "The user name for this registry. It goes with password, passwordFile or passwordVariable.",
  ),
  password: text("expected a password").describe(
    "The password for this registry, for whoever reads the list to see. Prefer passwordFile or passwordVariable.",
  ),
  passwordFile: text("expected the path of a file").describe(
    "A file that holds the password and nothing else; a relative path starts at the list's folder.",
  ),
  passwordVariable: z
    .string("expected the name of an environment variable")
    .regex(/^[A-Za-z_][A-Za-z0-9_]*$/, "expected the name of an environment variable")
    .exactOptional()
    .describe("The environment variable that holds the password."),
};

type LoginKeys = Partial<Record<"username" | (typeof passwordKeys)[number], string>>;

/** Adds an issue where a user name or its password is missing, or there are several passwords. */
export function checkLogin(settings: LoginKeys, context: z.RefinementCtx<unknown>): void {
  const { username } = settings;
  const given = passwordKeys.filter((key) => settings[key] !== undefined);
  const add = (key: string, message: string, hint: string): void =>
    // Without the input, which is a secret.
    context.addIssue({ code: "custom", message, path: [key], input: undefined, params: { hint } });
  const [first, second] = given;
  if (first !== undefined && second !== undefined) {
    add(second, `${second} stands beside ${first}, and there is one password`, "keep one of them");
  } else if (first !== undefined && username === undefined) {
    add(first, `${first} has no username beside it`, "write username too");
  } else if (first === undefined && username !== undefined) {
    add(
      "username",
      "username has no password beside it",
      "write passwordFile, passwordVariable or password too",
    );
  } else if (username?.includes(":") === true) {
    add("username", "a user name holds no colon", "write the password under a key of its own");
  }
}

/** The settings of a registry with the keys of this file put together into one `login`. */
export function withLogin<T extends LoginKeys>(
  settings: T,
  place: string,
): Omit<T, keyof LoginKeys> & { readonly login?: RegistryLogin } {
  const { username, password, passwordFile, passwordVariable, ...rest } = settings;
  if (username === undefined) return rest;
  const login = {
    username,
    ...(password === undefined ? {} : { password }),
    ...(passwordFile === undefined ? {} : { passwordFile }),
    ...(passwordVariable === undefined ? {} : { passwordVariable }),
    place,
  };
  return { ...rest, login };
}

/** True if both say the same, wherever they say it. */
export function sameLogin(one: RegistryLogin, other: RegistryLogin): boolean {
  return one.username === other.username && passwordKeys.every((key) => one[key] === other[key]);
}
