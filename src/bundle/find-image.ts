/** The images of a bundle by what they are called. */
import { AppError } from "../errors.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import type { Bundle } from "./bundle.ts";
import { imageName } from "./metadata.ts";

/** The root of the image that has this name, or this digest; undefined if there is none. */
export function rootOf({ images }: Pick<Bundle, "images">, reference: string): Descriptor | undefined {
  return images.find((image) => image.root.digest === reference || imageName(image) === reference)?.root;
}

/** The error for an image that a bundle on the disk does not have; `what` continues "Cannot find". */
export function noSuchImage({ path }: Pick<Bundle, "path">, what: string): AppError {
  return new AppError("NOT_FOUND", `Cannot find ${what} in ${path}`, {
    hint: `mirror ls ${path} shows what is in it`,
  });
}

/** The type that an image says its root has; undefined for any other digest. */
export function rootType({ images }: Pick<Bundle, "images">, digest: string): string | undefined {
  return images.find(({ root }) => root.digest === digest)?.root.mediaType;
}
