/** Flags that name registries: checked, so that a slip does not pass for a registry that nobody asks. */

import { AppError } from "../errors.ts";
import { parseRegistryHost } from "../list/target-name.ts";
import { isRegistryHost } from "../oci/reference.ts";
import { hostPart, quoted } from "../oci/shown.ts";

const hostFlags = ["plain-http", "insecure"] as const;

/** The flags with their hosts as references name them (`docker.io`). Throws USAGE that names the flag. */
export function withHosts<
  T extends Readonly<Partial<Record<(typeof hostFlags)[number], readonly string[] | undefined>>>,
>(flags: T): T {
  const hosts = hostFlags.flatMap((flag) => {
    const given = flags[flag];
    return given === undefined ? [] : [[flag, given.map((text) => hostOf(flag, text))] as const];
  });
  return { ...flags, ...Object.fromEntries(hosts) };
}

function hostOf(flag: string, text: string): string {
  if (isRegistryHost(text)) return parseRegistryHost(text);
  const bare = hostPart(text).split("/")[0] ?? "";
  throw new AppError("USAGE", `Cannot use --${flag} ${quoted(text)}: it is not HOST[:PORT]`, {
    hint: isRegistryHost(bare) ? `write --${flag} ${bare}` : "write it like registry.internal:5000",
  });
}
