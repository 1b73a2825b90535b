/** Names in the target: where an image lands, and that no two land in one place. */
import { AppError } from "../errors.ts";
import { isRepository, isTag, type Reference } from "../oci/reference.ts";
import { quoted } from "../oci/shown.ts";

/** Where an image lands in a target registry. */
export interface TargetName {
  readonly repository: string;
  /** Left out for an image that is known by its digest alone. */
  readonly tag?: string | undefined;
}

/** The default: the repository without its host, which is what containerd asks a mirror for. */
export const defaultNameTemplate = "{repository}";

const placeholders = /\{([^}]*)\}/g;

/**
 * The name in the target of an image. `as` wins over the template; `prefix` (may be empty) goes in front of both.
 * Throws USAGE for a template that gives no valid repository.
 */
export function targetName(
  reference: Reference,
  options: { readonly template: string; readonly prefix: string; readonly as?: TargetName | undefined },
): TargetName {
  const { template, prefix, as } = options;
  const named = as?.repository ?? fill(template, reference);
  const repository = prefix === "" ? named : `${prefix}/${named}`;
  if (!isRepository(repository)) {
    throw new AppError(
      "USAGE",
      `Cannot name ${reference.repository} in the target: ${quoted(repository)} is not a repository name`,
      {
        hint: "the placeholders of --name are {registry} and {repository}; all else must be lower case",
      },
    );
  }
  const tag = as?.tag ?? reference.tag;
  // A name that is not what it looks like would lead somewhere else in the registry.
  if (tag !== undefined && !isTag(tag))
    throw new AppError(
      "USAGE",
      `Cannot name ${reference.repository} in the target: ${JSON.stringify(tag.slice(0, 160))} is not a tag`,
    );
  return { repository, ...(tag === undefined ? {} : { tag }) };
}

/**
 * Finds images that would land on one name although they are not the same. Throws CONFLICT that names them; two
 * entries of the same digest are no conflict.
 */
export function refuseCollisions(
  images: readonly {
    readonly source: string;
    readonly target: TargetName;
    readonly root: { readonly digest: string };
  }[],
): void {
  const taken = new Map<string, { source: string; digest: string }>();
  for (const { source, target, root } of images) {
    if (target.tag === undefined) continue;
    const name = `${target.repository}:${target.tag}`;
    const other = taken.get(name);
    if (other !== undefined && other.digest !== root.digest) {
      throw new AppError(
        "CONFLICT",
        `Cannot put both ${other.source} and ${source} in the target: each would be ${name}`,
        {
          hint: "give one of them another name with as: in the list, or keep the hosts with --name '{registry}/{repository}'",
        },
      );
    }
    taken.set(name, { source, digest: root.digest });
  }
}

function fill(template: string, reference: Reference): string {
  return template.replace(placeholders, (whole, key: string) => {
    if (key === "repository") return reference.repository;
    // A port or an IPv6 address has characters that no repository may have.
    if (key === "registry")
      return reference.registry
        .toLowerCase()
        .replace(/[^a-z0-9.]+/g, "-")
        .replace(/^-|-$/g, "");
    throw new AppError("USAGE", `Cannot use the name template ${quoted(template)}: there is no ${whole}`, {
      hint: "the placeholders are {registry} and {repository}",
    });
  });
}
