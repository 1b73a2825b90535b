/** Where in a target the content may be that a delta leans on, besides the repositories that need it. */
import type { BundleBase } from "../bundle/delta.ts";
import type { BundleImage } from "../bundle/metadata.ts";
import { isAppError } from "../errors.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import { isRepository, parseReference } from "../oci/reference.ts";
import { defaultNameTemplate, targetName } from "../sync/naming.ts";

/** How a push names what it pushes. */
export interface LeanedNaming {
  /** In front of every name; may be empty. */
  readonly prefix: string;
  readonly template?: string | undefined;
}

/**
 * The repositories that are said to have a blob, the likeliest first: of a receipt, as it names them; of a bundle, as
 * this push would name them, and as a push without prefix and template would have. What is no repository is left out.
 */
export function placesOf(
  base: BundleBase,
  images: readonly BundleImage[],
  naming: LeanedNaming,
): (part: Pick<Descriptor, "digest">) => readonly string[] {
  const blobs = new Map(base.blobs.map((blob) => [blob.digest, blob]));
  const hosts = new Set(images.map(({ source }) => parseReference(source).registry));
  return ({ digest }) => {
    const held = blobs.get(digest)?.heldBy ?? [];
    const places = held.flatMap(({ source, repositories }) => {
      const said = repositories.filter(isRepository);
      if (base.sources[source]?.kind === "receipt") return said;
      return [...said.flatMap((repository) => namesOf(repository, hosts, naming)), ...said];
    });
    return [...new Set(places)];
  };
}

/** What a push calls a repository that a bundle calls so. The host that it came from is not known: each is tried. */
function namesOf(repository: string, hosts: ReadonlySet<string>, naming: LeanedNaming): readonly string[] {
  const { prefix, template } = naming;
  const plain = prefix === "" ? repository : `${prefix}/${repository}`;
  if (template === undefined || template === defaultNameTemplate) return [plain];
  const named = [...hosts].flatMap((host) => {
    try {
      return targetName({ registry: host, repository }, { template, prefix }).repository;
    } catch (error) {
      if (!isAppError(error)) throw error;
      return [];
    }
  });
  return [...named, plain];
}
