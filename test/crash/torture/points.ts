/** Every named point of a pull, each with a pull of its own that is killed there: first, middle and last time. */
import { makeContent } from "../support/content.ts";
import { startPlace } from "../support/place.ts";
import { killAtEveryPoint, movedScenario, plainScenario, shrinkScenario } from "../support/points.ts";
import type { Row, TortureOptions } from "./outcome.ts";

const size = 20_000_000;
const rate = 40_000_000;

/** Kills pulls of a small list at every named point. */
export async function torturePoints({ program, say }: TortureOptions): Promise<readonly Row[]> {
  const images = await makeContent(size);
  await using place = await startPlace({ program, images, rate });
  const rows: Row[] = [];
  for (const scenario of [
    () => plainScenario(place, images),
    () => shrinkScenario(place, images),
    () => movedScenario(place, { images, size }),
  ]) {
    const made = await scenario();
    const { places, problems } = await killAtEveryPoint(made, { chained: false, middle: true }).then(
      (killed) => ({ places: killed, problems: [] }),
      (error: unknown) => ({
        places: [],
        problems: [error instanceof Error ? error.message : String(error)],
      }),
    );
    say(`points of a pull, ${made.name}: ${problems.join("; ") || "held"}`);
    const names = new Set(places.map((each) => each.split("#")[0]));
    const figures = { kills: String(places.length), points: String(names.size) };
    rows.push({ what: `points, ${made.name}`, figures, problems });
  }
  return rows;
}
