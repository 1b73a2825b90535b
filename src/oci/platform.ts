/** Platforms: `os/architecture[/variant]`, normalised as containerd does it, and the match of a wanted list. */
import { z } from "zod";
import { AppError } from "../errors.ts";
import { quoted } from "./shown.ts";

/** image-spec image-index.md "platform". Unknown fields stay in the raw bytes, which is all that travels. */
export const Platform = z.object({
  os: z.string(),
  architecture: z.string(),
  variant: z.string().optional(),
  "os.version": z.string().optional(),
});
export type Platform = Readonly<z.infer<typeof Platform>>;

const architectures: Readonly<Record<string, { architecture: string; variant?: string }>> = {
  x86_64: { architecture: "amd64" },
  "x86-64": { architecture: "amd64" },
  i386: { architecture: "386" },
  aarch64: { architecture: "arm64" },
  armhf: { architecture: "arm", variant: "v7" },
  armel: { architecture: "arm", variant: "v6" },
};

const defaultVariants: Readonly<Record<string, string>> = { amd64: "v1", arm64: "v8", arm: "v7" };
const platformPattern = /^[a-z0-9_.-]+\/[a-z0-9_.-]+(?:\/[a-z0-9_.-]+)?$/;

/**
 * Parses `os/architecture[/variant]`; aliases of architectures (`aarch64`, `x86_64`, `armhf`) are folded.
 * Throws USAGE for anything else.
 */
export function parsePlatform(text: string): Platform {
  const lower = text.trim().toLowerCase();
  const [os, architecture, variant] = lower.split("/");
  if (!platformPattern.test(lower) || os === undefined || architecture === undefined) {
    throw new AppError("USAGE", `Cannot read platform ${quoted(text)}: expected os/architecture[/variant]`, {
      hint: "write it like linux/amd64 or linux/arm/v7",
    });
  }
  const alias = architectures[architecture];
  const found = variant ?? alias?.variant;
  return {
    os,
    architecture: alias?.architecture ?? architecture,
    ...(found === undefined ? {} : { variant: found }),
  };
}

/** `os/architecture[/variant]`, for people and for comparing. */
export function formatPlatform(platform: Platform): string {
  const base = `${platform.os}/${platform.architecture}`;
  return platform.variant ? `${base}/${platform.variant}` : base;
}

/**
 * True if `have` is what `want` asks for. A variant that is left out means the architecture's default one, and
 * aliases of architectures count as what they stand for: an index in the wild may say `aarch64`.
 */
export function matchesPlatform(have: Platform, want: Platform): boolean {
  return have.os === want.os && machineOf(have) === machineOf(want);
}

function machineOf(platform: Platform): string {
  const alias = architectures[platform.architecture];
  const architecture = alias?.architecture ?? platform.architecture;
  return `${architecture}/${platform.variant || alias?.variant || (defaultVariants[architecture] ?? "")}`;
}

/** True for the `unknown/unknown` entry by which BuildKit marks attestations. */
export function isUnknownPlatform(platform: Platform): boolean {
  return platform.os === "unknown" && platform.architecture === "unknown";
}

/** What people are told of a platform; undefined where there is none to tell, as for attestations. */
export function platformName(platform: Platform | undefined): string | undefined {
  return platform === undefined || isUnknownPlatform(platform) ? undefined : formatPlatform(platform);
}
