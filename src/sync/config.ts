/** The few fields of an image's config (image-spec config.md) that are of interest here. */
import type { Platform } from "../oci/platform.ts";

/** A config larger than this is copied, but not read, in bytes. */
export const maxConfigBytes = 4 * 1024 * 1024;

/** The platform that a config says it is for; undefined if it does not say, or is no JSON object. */
export function platformOf(config: Uint8Array): Platform | undefined {
  const { os, architecture, variant } = fieldsOf(config);
  if (typeof os !== "string" || typeof architecture !== "string") return undefined;
  return { os, architecture, ...(typeof variant === "string" && variant !== "" ? { variant } : {}) };
}

/** When the image was built, as its config says; undefined if it does not. */
export function createdOf(config: Uint8Array): string | undefined {
  const { created } = fieldsOf(config);
  return typeof created === "string" ? created : undefined;
}

function fieldsOf(
  config: Uint8Array,
): Readonly<{ os?: unknown; architecture?: unknown; variant?: unknown; created?: unknown }> {
  try {
    const document: unknown = JSON.parse(Buffer.from(config).toString("utf8"));
    return typeof document === "object" && document !== null ? document : {};
  } catch {
    return {};
  }
}
