/** Where a run stands, added up from its events. Both views, lines and bars, draw from the same snapshot. */
import type { TransferEvent } from "../sync/events.ts";
import { formatDuration, formatRate, plural } from "./format.ts";
import { RateMeter } from "./rate-meter.ts";
import { unreachable } from "./unreachable.ts";

/** A transfer under way; figures in bytes. */
export interface ActiveBlob {
  readonly name: string;
  readonly size: number;
  readonly offset: number;
}

export interface Snapshot {
  /** idle: nothing has begun; moving: bytes are moved or read. */
  readonly phase: "idle" | "resolving" | "moving";
  readonly imagesResolved: number;
  readonly imagesAsked: number;
  /** Images that are complete; failed ones are not among them. */
  readonly imagesDone: number;
  readonly imagesPlanned: number;
  readonly imagesFailed: number;
  /** Bytes that are at the target or on the way; never falls from one snapshot to the next. */
  readonly bytesDone: number;
  readonly bytesTotal: number;
  /** Bytes per second over the last ten seconds; undefined while too little is known. */
  readonly rate: number | undefined;
  /** Whole seconds; undefined while nothing moves. */
  readonly secondsLeft: number | undefined;
  /** Oldest first, so that rows keep their places. */
  readonly active: readonly ActiveBlob[];
}

/**
 * The most that a first progress event can have moved, in bytes per millisecond. Nothing is hashed faster than
 * this, so a larger offset is the place where an earlier run stopped, and no part of the rate.
 */
const fastestPerMs = 4 * 1024 * 1024;
/** Longer estimates say nothing, in seconds. */
const longestEstimate = 30 * 24 * 3600;

interface Transfer {
  readonly name: string;
  readonly size: number;
  readonly startedAt: number;
  offset: number;
  hasMoved: boolean;
}

/** Takes events in, gives snapshots out. */
export class Progress {
  readonly #now: () => number;
  readonly #active = new Map<string, Transfer>();
  /** Sizes of transfers that were given up, by key: they are not waited for in the estimate. */
  readonly #failed = new Map<string, number>();
  #phase: Snapshot["phase"] = "idle";
  #imagesResolved = 0;
  #imagesAsked = 0;
  #imagesDone = 0;
  #imagesPlanned = 0;
  #imagesFailed = 0;
  #bytesTotal = 0;
  #bytesSettled = 0;
  #bytesActive = 0;
  #bytesFailed = 0;
  #bytesVerified = 0;
  #peak = 0;
  #moved: RateMeter | undefined;
  #verified: RateMeter | undefined;

  /** `now` is a clock in milliseconds. */
  constructor(now: () => number) {
    this.#now = now;
  }

  on(event: TransferEvent): void {
    switch (event.type) {
      case "resolving":
        this.#phase = "resolving";
        this.#imagesAsked += event.images;
        return;
      case "resolved":
        this.#imagesResolved = event.done;
        this.#imagesAsked = event.images;
        return;
      case "planned":
        if (event.more === true) this.#phase = "moving";
        if (event.more === true) this.#bytesTotal += event.bytes;
        else this.#plan(event.images, event.bytes);
        return;
      case "image-finished":
      case "image-waiting":
        this.#imagesDone += 1;
        return;
      case "image-failed":
        this.#imagesFailed += 1;
        return;
      case "blob-started":
        this.#start(event.key, event.name, event.size);
        return;
      case "blob-progress":
        this.#advance(event.key, event.offset);
        return;
      case "blob-finished":
        this.#advance(event.key, event.size);
        this.#end(event.key);
        this.#bytesSettled += event.size;
        return;
      case "blob-failed":
        this.#fail(event.key);
        return;
      case "blob-skipped":
        if (event.key !== undefined) {
          this.#advance(event.key, event.size);
          this.#end(event.key);
        }
        this.#bytesSettled += event.size;
        return;
      case "verified":
        this.#verified ??= new RateMeter(this.#now);
        this.#verified.add(event.size);
        this.#bytesVerified += event.size;
        return;
      case "retrying":
      case "answered":
      case "warning":
      case "note":
      case "rate-limit":
      case "debug":
        return;
      default:
        unreachable(event);
    }
  }

  snapshot(): Snapshot {
    // What an earlier run left is first verified and then reported as reused or as an offset: the larger of the
    // two sums counts those bytes once. In a run that only verifies, it is the verified ones.
    const done = Math.max(this.#bytesSettled + this.#bytesActive, this.#bytesVerified);
    this.#peak = Math.max(this.#peak, Math.min(done, this.#bytesTotal));
    const rate = (this.#moved ?? this.#verified)?.perSecond();
    return {
      phase: this.#phase,
      imagesResolved: this.#imagesResolved,
      imagesAsked: this.#imagesAsked,
      imagesDone: this.#imagesDone,
      imagesPlanned: Math.max(this.#imagesPlanned, this.#imagesDone),
      imagesFailed: this.#imagesFailed,
      bytesDone: this.#peak,
      bytesTotal: this.#bytesTotal,
      rate,
      secondsLeft: secondsFor(this.#bytesTotal - done - this.#bytesFailed, rate),
      active: [...this.#active.values()],
    };
  }

  /** Another plan takes the place of one before, of which nothing is under way any more. */
  #plan(images: number, bytes: number): void {
    this.#phase = "moving";
    this.#imagesPlanned = images;
    this.#bytesTotal = bytes;
    this.#bytesSettled = 0;
    this.#bytesVerified = 0;
    this.#peak = 0;
    this.#active.clear();
    this.#bytesActive = 0;
  }

  #start(key: string, name: string, size: number): void {
    this.#end(key);
    this.#bytesFailed -= this.#failed.get(key) ?? 0;
    this.#failed.delete(key);
    this.#moved ??= new RateMeter(this.#now);
    this.#active.set(key, { name, size, startedAt: this.#now(), offset: 0, hasMoved: false });
  }

  #advance(key: string, to: number): void {
    const transfer = this.#active.get(key);
    if (transfer === undefined) return;
    const offset = Math.min(to, transfer.size);
    const step = offset - transfer.offset;
    const isResume = !transfer.hasMoved && step > (this.#now() - transfer.startedAt + 1) * fastestPerMs;
    // A step back is a retry: what was lost is moved again and counts again, in the rate only.
    if (step > 0 && !isResume) this.#moved?.add(step);
    transfer.hasMoved = true;
    transfer.offset = offset;
    this.#bytesActive += step;
  }

  #fail(key: string): void {
    const transfer = this.#end(key);
    if (transfer === undefined) return;
    this.#failed.set(key, transfer.size);
    this.#bytesFailed += transfer.size;
  }

  #end(key: string): Transfer | undefined {
    const transfer = this.#active.get(key);
    if (transfer === undefined) return undefined;
    this.#active.delete(key);
    this.#bytesActive -= transfer.offset;
    return transfer;
  }
}

/** The share that is done, 0 to 1; a total of nothing is done. */
export function share(done: number, total: number): number {
  return total <= 0 ? 1 : Math.min(1, Math.max(0, done / total));
}

/** Whole percent, rounded down: 100 stands for done and for nothing less. */
export function percent(done: number, total: number): string {
  return `${Math.floor(share(done, total) * 100)} %`;
}

function secondsFor(bytes: number, rate: number | undefined): number | undefined {
  if (rate === undefined || rate <= 0 || bytes <= 0) return undefined;
  const seconds = Math.ceil(bytes / rate);
  return seconds > longestEstimate ? undefined : seconds;
}

/** How fast it goes, how long it takes, and how many images are done: each a text, those that are known. */
export function figuresOf(snapshot: Snapshot): readonly string[] {
  const { rate, secondsLeft, imagesDone, imagesPlanned } = snapshot;
  return [
    ...(rate === undefined ? [] : [formatRate(rate)]),
    ...(secondsLeft === undefined ? [] : [`${formatDuration(secondsLeft)} left`]),
    `${imagesDone} of ${plural(imagesPlanned, "image")}`,
  ];
}
