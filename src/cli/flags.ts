/** Flags that several commands share. Each is also a variable: `--ca-file` is `MIRROR_CA_FILE`. */
import { Flags } from "@oclif/core";

/**
 * A flag that may come several times, or with commas. oclif takes the variable of such a flag for one text, which
 * is no list, so the variable is read here.
 */
function several(variable: string): {
  multiple: true;
  multipleNonGreedy: true;
  delimiter: ",";
  default: () => Promise<string[] | undefined>;
} {
  return {
    multiple: true,
    multipleNonGreedy: true,
    delimiter: ",",
    default: async () => {
      const parts = (process.env[variable] ?? "").split(",").map((part) => part.trim());
      const given = parts.filter((part) => part !== "");
      return given.length === 0 ? undefined : given;
    },
  };
}

/**
 * For every argument: oclif otherwise takes one that is left out from standard input, and with it the list of
 * `--file -`, or the lines of a shell loop around the command.
 */
export const argumentOnly = { ignoreStdin: true } as const;

/** What every command has. */
export const baseFlags = {
  quiet: Flags.boolean({
    char: "q",
    summary: "show warnings and failures only",
    env: "MIRROR_QUIET",
    helpGroup: "GLOBAL",
  }),
};

/** How to reach registries. */
export const registryFlags = {
  "ca-file": Flags.string({
    ...several("MIRROR_CA_FILE"),
    summary: "PEM file of a CA to trust besides the system's (repeatable) [env: MIRROR_CA_FILE]",
    helpValue: "FILE",
  }),
  "certs-dir": Flags.string({
    ...several("MIRROR_CERTS_DIR"),
    summary:
      "folder with certificates in HOST[:PORT]/, besides /etc/docker/certs.d (repeatable) [env: MIRROR_CERTS_DIR]",
    helpValue: "DIR",
  }),
  "plain-http": Flags.string({
    ...several("MIRROR_PLAIN_HTTP"),
    summary:
      "speak plain HTTP with this registry, credentials included (repeatable) [env: MIRROR_PLAIN_HTTP]",
    helpValue: "HOST[:PORT]",
  }),
  insecure: Flags.string({
    ...several("MIRROR_INSECURE"),
    summary: "do not check the certificate of this registry (repeatable) [env: MIRROR_INSECURE]",
    helpValue: "HOST[:PORT]",
  }),
};

/** How to move content. */
export const transferFlags = {
  concurrency: Flags.integer({
    summary: "transfers at a time with each registry (8 if left out)",
    min: 1,
    max: 64,
    env: "MIRROR_CONCURRENCY",
  }),
};

/** What to take. */
export const selectionFlags = {
  file: Flags.string({
    ...several("MIRROR_FILE"),
    char: "f",
    summary:
      "image list to read; - is standard input (repeatable; ./manifests.yaml if left out) [env: MIRROR_FILE]",
    helpValue: "LIST",
  }),
  platform: Flags.string({
    ...several("MIRROR_PLATFORM"),
    summary: "take this platform of every image, whatever the list says (repeatable) [env: MIRROR_PLATFORM]",
    helpValue: "OS/ARCH[/VARIANT]",
  }),
};

/** Where images land in a registry. */
export const namingFlags = {
  name: Flags.string({
    summary: "name in the target, from {registry} and {repository}",
    helpValue: "TEMPLATE",
    env: "MIRROR_NAME",
  }),
};

/** When to stop. */
export const failFastFlag = {
  "fail-fast": Flags.boolean({ summary: "stop at the first image that fails", env: "MIRROR_FAIL_FAST" }),
};

/** The target of push and sync. */
export const targetFlag = {
  registry: Flags.string({
    required: true,
    summary: "registry to write to, with a path to put in front of every name",
    helpValue: "HOST[:PORT][/PREFIX]",
    env: "MIRROR_REGISTRY",
  }),
};
