/** Images that are named on the command line instead of in a list. */
import { AppError } from "../errors.ts";
import type { Platform } from "../oci/platform.ts";
import { parseReference } from "../oci/reference.ts";
import { quoted, withoutLogin } from "../oci/shown.ts";
import { type ImageRequest, uniquePlatforms, uniqueRequests } from "./image-list.ts";

/**
 * One request for each image, each image once; no platforms means every platform. Throws REFERENCE for what is no
 * reference, and USAGE for the path of a list, which would else be taken for an image of Docker Hub.
 */
export function requestsFromArguments(
  args: readonly string[],
  platforms: readonly Platform[],
): readonly ImageRequest[] {
  const wanted = uniquePlatforms(platforms);
  return uniqueRequests(
    args.map((text) => {
      if (/\.(?:ya?ml|json|txt)$/iu.test(text)) {
        throw new AppError("USAGE", `Cannot read image reference ${quoted(text)}: it looks like a list`, {
          hint: `write -f ${withoutLogin(text)}; if it is an image, write its tag too`,
        });
      }
      return { reference: parseReference(text), platforms: wanted, place: "command line" };
    }),
  );
}
