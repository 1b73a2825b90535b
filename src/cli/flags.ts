/** Flags that several commands share. Each is also a variable: `--ca-file` is `MIRROR_CA_FILE`. */
import { Flags } from "@oclif/core";

const several = { multiple: true, multipleNonGreedy: true, delimiter: "," } as const;

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
    ...several,
    summary: "PEM file of a CA to trust besides the system's (repeatable)",
    helpValue: "FILE",
    env: "MIRROR_CA_FILE",
  }),
  "plain-http": Flags.string({
    ...several,
    summary: "speak plain HTTP with this registry, credentials included (repeatable)",
    helpValue: "HOST[:PORT]",
    env: "MIRROR_PLAIN_HTTP",
  }),
  insecure: Flags.string({
    ...several,
    summary: "do not check the certificate of this registry (repeatable)",
    helpValue: "HOST[:PORT]",
    env: "MIRROR_INSECURE",
  }),
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
    ...several,
    char: "f",
    summary: "image list to read; - is standard input (repeatable; ./manifests.yaml if left out)",
    helpValue: "LIST",
    env: "MIRROR_FILE",
  }),
  platform: Flags.string({
    ...several,
    summary: "take this platform of every image, whatever the list says (repeatable)",
    helpValue: "OS/ARCH[/VARIANT]",
    env: "MIRROR_PLATFORM",
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
