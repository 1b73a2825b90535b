/** Pushes and syncs that are killed, each into a registry of its own. */
import type { CorpusImage } from "../../interop/support/corpus.ts";
import { bytesOf } from "../support/content.ts";
import type { Place } from "../support/place.ts";
import { randomOf } from "../support/random.ts";
import { completeImages, copyWithKills, startTarget } from "../support/target.ts";
import { type Attempt, runToEnd } from "../support/victim.ts";
import { lastWords, type Row, type TortureOptions } from "./outcome.ts";

/** So many kills of each copy come between tags, where complete and incomplete images are side by side. */
const tagShare = 0.3;

/** Kills pushes or syncs `kills` times in all. `bundle`: what is pushed, and what everything is verified by. */
export async function tortureCopies(
  verb: "push" | "sync",
  { place, bundle, images }: { place: Place; bundle: string; images: readonly CorpusImage[] },
  { program, seed, kills, killsEach, say }: TortureOptions,
): Promise<readonly Row[]> {
  const random = randomOf(seed);
  const size = await bytesOf(bundle);
  const rows: Row[] = [];
  for (let left = kills; left > 0; left -= killsEach) {
    const number = rows.length + 1;
    await using target = await startTarget(program);
    const cwd = await place.work(`${verb}-${number}`, images);
    const args = [verb, ...(verb === "push" ? [bundle] : []), "--registry", target.relay.host];
    const attempt: Attempt = { args, cwd, relay: target.relay };
    const began = performance.now();
    const count = Math.min(left, killsEach);
    const byTag = Math.round(count * tagShare);
    const bytes = Array.from({ length: count - byTag }, () => random() * size);
    const moments = [
      ...bytes.sort((one, other) => one - other).map((moment) => ({ bytes: moment })),
      ...Array.from({ length: byTag }, (_, index) => ({ tags: index + 1 })),
    ];
    const copied = await copyWithKills(attempt, target, { images, moments });
    const seconds = (performance.now() - began) / 1000;
    const tagged = await completeImages(target, images);
    const sent = target.relay.sent;
    const verified = await runToEnd({
      ...attempt,
      args: ["verify", bundle, "--registry", target.registry.host],
    });
    const problems = [
      ...(copied.again === 0 ? [] : [`${copied.again} bytes of complete images were sent again`]),
      ...(tagged.length === images.length ? [] : [`${tagged.length} of ${images.length} images are tagged`]),
      ...(verified.code === 0 ? [] : [`verify failed: ${lastWords(verified)}`]),
    ];
    say(`${verb} ${number}: ${problems.join("; ") || "held"}`);
    rows.push({
      what: `${verb} ${number}`,
      figures: {
        kills: String(copied.kills),
        "complete at kills": String(copied.complete),
        "sent/bundle": (sent / size).toFixed(4),
        "sent again": String(copied.again),
        seconds: seconds.toFixed(1),
      },
      problems,
    });
  }
  return rows;
}
