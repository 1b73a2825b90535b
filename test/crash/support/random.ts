/** Numbers that are random, and the same for the same seed: a failure can be run again. */

/** Gives numbers in [0, 1) (mulberry32). */
export function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** `count` places between 0 and `end`, in order. */
export function momentsOf(random: () => number, count: number, end: number): readonly number[] {
  const places = Array.from({ length: count }, () => Math.floor(random() * end));
  return places.sort((one, other) => one - other);
}
