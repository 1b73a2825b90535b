/** Flags that several commands share. Each is also a variable: `--ca-file` is `MIRROR_CA_FILE`. */
import { Flags } from "@oclif/core";
import type { PlanOptions } from "../sync/plan.ts";

/** Options of the planner that flags decide. */
export type ContentRules = Pick<PlanOptions, "allowMissing" | "includeForeign" | "foreignWay">;

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
  authfile: Flags.string({
    summary:
      "file with credentials, read instead of Docker's and Podman's: a config.json, an auth.json or a Kubernetes pull secret",
    helpValue: "FILE",
    env: "MIRROR_AUTHFILE",
  }),
};

/** How long to wait for registries. */
export const patienceFlags = {
  patience: Flags.integer({
    summary: "how long to wait for a registry that goes away in the middle, in seconds (60 if left out)",
    helpValue: "SECONDS",
    min: 0,
    max: 86_400,
    env: "MIRROR_PATIENCE",
  }),
  "wait-for-rate-limit": Flags.boolean({
    summary: "wait for a registry that limits requests, even for hours (two minutes a time otherwise)",
    env: "MIRROR_WAIT_FOR_RATE_LIMIT",
  }),
};

/** How to move content. */
export const transferFlags = {
  ...patienceFlags,
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

/** What the images of an archive are called that has no names for them. */
export const archiveFlags = {
  tag: Flags.string({
    summary: "name for the image of an archive that holds none, or no repository",
    helpValue: "NAME[:TAG]",
    env: "MIRROR_TAG",
  }),
};

/** Where the layers of an archive go that comes through a pipe, before its names are known. */
export const stagingFlag = {
  staging: Flags.string({
    summary:
      "for an archive of another tool through a pipe: repository that its layers go through (mirror-staging, or where --tag says, if left out)",
    helpValue: "REPOSITORY",
    env: "MIRROR_STAGING",
  }),
};

/** Archives of platforms that are not all there. */
export const allowMissingFlag = {
  "allow-missing": Flags.boolean({
    summary: "go on with the platforms that are there; the index of the image gets a new digest",
    env: "MIRROR_ALLOW_MISSING",
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

/** What to take of images that are not all there, or not all free. */
export const contentFlags = {
  "allow-missing": Flags.boolean({
    summary: "go on without the platforms that an image's registry has lost; its index gets a new digest",
    env: "MIRROR_ALLOW_MISSING",
  }),
  "include-foreign": Flags.boolean({
    summary: "copy the layers of Windows images too that their licence keeps out of registries",
    env: "MIRROR_INCLUDE_FOREIGN",
  }),
};

/** What {@link contentFlags} mean for the planner. */
export function contentRules(flags: {
  readonly "allow-missing": boolean;
  readonly "include-foreign": boolean;
}): ContentRules {
  return { allowMissing: flags["allow-missing"], includeForeign: () => flags["include-foreign"] };
}

/** What a pull takes over from earlier ones. */
export const reuseFlags = {
  reuse: Flags.string({
    ...several("MIRROR_REUSE"),
    summary:
      "earlier bundle, or archive of another tool, to take content over from instead of fetching it (repeatable) [env: MIRROR_REUSE]",
    helpValue: "BUNDLE",
  }),
  fresh: Flags.boolean({
    summary: "start over: take up nothing that an earlier run has left",
    env: "MIRROR_FRESH",
  }),
};

/** What a delta leans on. */
export const baseFlag = {
  base: Flags.string({
    ...several("MIRROR_BASE"),
    summary:
      "leave out the blobs that this earlier bundle, or the registry of this receipt, has (repeatable) [env: MIRROR_BASE]",
    helpValue: "BUNDLE|RECEIPT",
  }),
};

/** What is proved together with a delta. */
export const provenBaseFlag = {
  base: Flags.string({
    ...several("MIRROR_BASE"),
    summary: "bundle that this delta leans on, to prove both together (repeatable) [env: MIRROR_BASE]",
    helpValue: "BUNDLE",
  }),
};

/** What to look for in a registry, and where to write down what is there. */
export const receiptFlags = {
  to: Flags.string({
    summary: "file to write; standard output if left out",
    helpValue: "FILE",
    // Not MIRROR_TO, which names the bundle of a pull: it must not be written over.
    env: "MIRROR_RECEIPT",
  }),
  file: Flags.string({
    ...several("MIRROR_FILE"),
    char: "f",
    summary: "image list: look for what it names, and no more (repeatable) [env: MIRROR_FILE]",
    helpValue: "LIST",
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
