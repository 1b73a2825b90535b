/** A registry that is filled by a program that is killed: what has to hold after each kill, and in the end. */
import { fetch } from "undici";
import { expect } from "vitest";
import { mediaTypes } from "../../../src/oci/media-types.ts";
import { type CorpusImage, digestsOf } from "../../interop/support/corpus.ts";
import { type DockerRegistry, startDockerRegistry } from "../../interop/support/docker-registry.ts";
import { type CountingRelay, startCountingRelay } from "./counting-relay.ts";
import type { Moment } from "./line.ts";
import { portOf } from "./place.ts";
import { type Attempt, runToEnd, runUntil, runUntilPoint } from "./victim.ts";

const accept = `${mediaTypes.ociManifest}, ${mediaTypes.ociIndex}`;

/** An empty registry behind a line of its own. */
export interface TargetPlace extends AsyncDisposable {
  readonly registry: DockerRegistry;
  readonly relay: CountingRelay;
}

/** Starts one. `rate`: bytes a second on the line. */
export async function startTarget(program: string, rate?: number): Promise<TargetPlace> {
  await using stack = new AsyncDisposableStack();
  const registry = stack.use(await startDockerRegistry({ program }));
  const options = { port: portOf(registry), ...(rate === undefined ? {} : { rate }) };
  const relay = stack.use(await startCountingRelay(options));
  const owned = stack.move();
  return { registry, relay, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

/** The images whose tag is there, each of which has to be there with all of its parts. */
export async function completeImages(
  { registry }: TargetPlace,
  images: readonly CorpusImage[],
): Promise<readonly CorpusImage[]> {
  const there: CorpusImage[] = [];
  for (const image of images) {
    const base = `${registry.url}/v2/${image.repository}`;
    const head = (path: string) => fetch(`${base}/${path}`, { method: "HEAD", headers: { accept } });
    const tag = await head(`manifests/${image.tag}`);
    if (tag.status === 404) continue;
    expect(tag.headers.get("docker-content-digest")).toBe(image.content.descriptor.digest);
    for (const digest of digestsOf(image.content)) {
      const found = await Promise.all([head(`blobs/${digest}`), head(`manifests/${digest}`)]);
      expect(
        found.some(({ status }) => status === 200),
        `${image.repository} lacks ${digest}`,
      ).toBe(true);
    }
    there.push(image);
  }
  return there;
}

/** A moment on the line to the target, or a named point. */
export type KillMoment = Moment | { readonly point: string };

/** How a copy that was killed again and again went. */
export interface Copied {
  readonly kills: number;
  /** Bytes of blobs of complete images that were sent again. */
  readonly again: number;
  /** How many images were complete at the kills, in all. */
  readonly complete: number;
}

/**
 * Kills a push or a sync at each of the moments, then lets it end. After each
 * kill, what is tagged is complete, and no blob of it is sent again.
 */
export async function copyWithKills(
  attempt: Attempt,
  target: TargetPlace,
  { images, moments }: { readonly images: readonly CorpusImage[]; readonly moments: readonly KillMoment[] },
): Promise<Copied> {
  const { relay } = target;
  let [kills, complete, again] = [0, 0, 0];
  const sent = new Map<string, number>();
  const countAgain = (): void => {
    for (const [digest, before] of sent) again += relay.sentOf(digest) - before;
  };
  for (const moment of moments) {
    const { kill, result } =
      "point" in moment ? await runUntilPoint(attempt, moment.point) : await runUntil(attempt, moment);
    countAgain();
    if (kill === undefined) {
      // It was done before the moment came.
      expect(result.code, result.stderr).toBe(0);
      continue;
    }
    kills += 1;
    const there = await completeImages(target, images);
    complete += there.length;
    sent.clear();
    for (const { content } of there)
      for (const digest of digestsOf(content)) sent.set(digest, relay.sentOf(digest));
  }
  const last = await runToEnd(attempt);
  expect(last.code, last.stderr).toBe(0);
  countAgain();
  return { kills, again, complete };
}
