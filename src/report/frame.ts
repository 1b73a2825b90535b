/** One frame of the live view, as styled pieces of text: a pure function of a snapshot and of the room there is. */
import { cutToWidth, displayWidth, escapeControl, formatBytes, plural } from "./format.ts";
import { figuresOf, percent, type Snapshot, share } from "./progress.ts";
import type { Style } from "./terminal.ts";

/** A piece of a line in one style. */
export interface Piece {
  readonly text: string;
  readonly style?: Style;
}

export type Line = readonly Piece[];

export interface Room {
  /** Terminal cells that a line may take. */
  readonly cells: number;
  /** Lines that the frame may take, at least 1. */
  readonly lines: number;
  /** Bars of block elements instead of ASCII. */
  readonly unicode: boolean;
}

/** Rows of blobs at most, however tall the terminal is: more than that moves too much to be read. */
const maxBlobRows = 8;
/** From this width on the figures of the total stand on one line, in cells. */
const wideCells = 119;
/** `1023.9 MiB of 1023.9 GiB` */
const widestBytes = 24;
const widestBar = 40;
const widestBlobBar = 24;
/** A shorter bar shows nothing. */
const narrowestBar = 5;

/**
 * The lines of a frame, each at most `room.cells` wide: the total, on two lines where the terminal is narrow,
 * then the transfers under way, oldest first. `present` is the verb: `pulling`. Nothing while idle.
 */
export function frame(snapshot: Snapshot, present: string, room: Room): readonly Line[] {
  if (snapshot.phase === "idle") return [];
  if (snapshot.phase === "resolving") {
    const text = ` ${snapshot.imagesResolved} of ${plural(snapshot.imagesAsked, "image")}`;
    return [cutLine([{ text: "resolving", style: "bold" }, { text }], room.cells)];
  }
  const total = totalLines(snapshot, present, room).slice(0, room.lines);
  const blobs = blobLines(snapshot, { ...room, lines: Math.min(maxBlobRows, room.lines - total.length) });
  return [...total, ...blobs].map((line) => cutLine(line, room.cells));
}

function totalLines(snapshot: Snapshot, present: string, room: Room): readonly Line[] {
  const { bytesDone, bytesTotal } = snapshot;
  // The width of the bar depends on nothing but the terminal, so that it does not twitch with the figures.
  const isWide = room.cells >= wideCells;
  const text = present.length + 1 + 1 + "100 %".length + 2 + widestBytes;
  const barCells = isWide ? room.cells - wideCells + 10 : room.cells - text;
  const first: Piece[] = [
    { text: present, style: "bold" },
    ...barPieces(share(bytesDone, bytesTotal), Math.min(widestBar, barCells), room.unicode),
    { text: ` ${percent(bytesDone, bytesTotal).padStart("100 %".length)}` },
    { text: `  ${formatBytes(bytesDone)} of ${formatBytes(bytesTotal)}` },
  ];
  const figures = figuresOf(snapshot).join("  ");
  const failed: Line =
    snapshot.imagesFailed === 0 ? [] : [{ text: `  ${snapshot.imagesFailed} failed`, style: "red" }];
  if (isWide) return [[...first, { text: `  ${figures}` }, ...failed]];
  return [first, [{ text: `${" ".repeat(present.length + 1)}${figures}` }, ...failed]];
}

function blobLines(snapshot: Snapshot, room: Room): readonly Line[] {
  const { active } = snapshot;
  if (room.lines <= 0) return [];
  const shown = active.slice(0, active.length > room.lines ? room.lines - 1 : room.lines);
  const names = shown.map((blob) => escapeControl(blob.name));
  const nameCells = Math.max(0, ...names.map(displayWidth));
  const barCells = Math.min(widestBlobBar, room.cells - (2 + nameCells + 1 + 2 + widestBytes));
  const lines: Line[] = shown.map((blob, index) => {
    const name = names[index] ?? "";
    return [
      { text: `  ${name}${" ".repeat(nameCells - displayWidth(name))}` },
      ...barPieces(share(blob.offset, blob.size), barCells, room.unicode),
      { text: `  ${formatBytes(blob.offset)} of ${formatBytes(blob.size)}` },
    ];
  });
  if (shown.length === active.length) return lines;
  return [...lines, [{ text: `  and ${active.length - shown.length} more`, style: "dim" }]];
}

function barPieces(part: number, cells: number, unicode: boolean): Line {
  if (cells < narrowestBar) return [];
  const full = Math.floor(part * cells);
  return [
    { text: " " },
    { text: (unicode ? "█" : "#").repeat(full), style: "green" },
    { text: (unicode ? "░" : "-").repeat(cells - full), style: "dim" },
  ];
}

function cutLine(line: Line, cells: number): Line {
  const kept: Piece[] = [];
  let room = cells;
  for (const piece of line) {
    const text = cutToWidth(piece.text, room);
    if (text !== "") kept.push({ ...piece, text });
    if (text !== piece.text) break;
    room -= displayWidth(text);
  }
  return kept;
}
