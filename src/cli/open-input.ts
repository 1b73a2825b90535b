/** Opens what a command reads images from: a file or folder, or standard input. */
import type { Bundle } from "../bundle/bundle.ts";
import { type OpenBundleOptions, openBundle } from "../bundle/open.ts";
import type { PassOptions } from "../bundle/pipe/passed-files.ts";
import { PipeReader } from "../bundle/pipe/pipe-reader.ts";
import { pipeName } from "./bundle-path.ts";
import { openPipedBundle } from "./piped-bundle.ts";
import type { Session } from "./session.ts";

/** Opens a bundle or archive; `-` is a bundle on standard input. Throws as {@link openBundle} and {@link openPipedBundle}. */
export async function openInput(
  path: string,
  options: OpenBundleOptions & Pick<PassOptions, "onProved">,
): Promise<Bundle> {
  return path === pipeName ? await openPipedBundle(options) : await openBundle(path, options);
}

/**
 * Opens one to show what is in it: platforms that are not there are no failure, and what comes through a pipe is read no
 * further than its configs. Throws as {@link openInput}.
 */
export async function openToShow(
  path: string,
  tag: string | undefined,
  { signal, note }: Session,
): Promise<Bundle> {
  const bundle = await openInput(path, { tag, allowMissing: true, signal, onNote: note });
  try {
    if (bundle instanceof PipeReader) await bundle.keepConfigs();
    return bundle;
  } catch (error) {
    await bundle[Symbol.asyncDispose]();
    throw error;
  }
}
