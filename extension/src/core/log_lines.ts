// The end of a log: what came, in lines, never more than a few hundred of them.
import { plain } from "./ansi";

export const KEPT = 500;
const LONGEST = 2000;

/** With `skipped`, a line stands for so many bytes that were left out. */
export type Line = { number: number; text: string; skipped?: number };
/** `before`: lines that came earlier than `text`, since the log is followed; `skipped`: bytes left out right before it. */
export type Batch = { before: number; text: string; skipped: number };

/** Follows batches of lines. A batch that does not join on to the last one is refused, and the whole has to be asked for. */
export class LogLines {
  lines: Line[] = [];
  /** Lines that came since the beginning, and bytes that were left out among the lines kept. */
  total = 0;
  skipped = 0;

  replace({ before, text, skipped }: Batch): void {
    this.lines = [];
    this.total = before;
    this.skipped = skipped;
    this.take(text);
  }

  /** False: lines between this batch and the last one are missing. A batch that is known already is passed over. */
  append({ before, text, skipped }: Batch): boolean {
    if (before < this.total) return true;
    if (before > this.total) return false;
    if (skipped) {
      this.skipped += skipped;
      this.lines.push({ number: -this.skipped, text: "", skipped });
    }
    this.take(text);
    return true;
  }

  private take(text: string): void {
    const fresh = text.split("\n");
    if (fresh.at(-1) === "") fresh.pop();
    this.total += fresh.length;
    const first = this.total - Math.min(fresh.length, KEPT);
    const kept = fresh.slice(-KEPT).map((line, at) => ({ number: first + at, text: redrawn(line) }));
    this.lines = [...this.lines, ...kept].slice(-KEPT);
  }
}

/** A line drawn over and over by carriage returns is what was drawn last. */
export function redrawn(line: string): string {
  const states = line.replace(/\r+$/, "").split("\r");
  const last = states.at(-1) ?? "";
  return last.length > LONGEST ? `${last.slice(0, LONGEST - 1)}…` : last;
}

/** Where `wanted` stands in a text, upper and lower case being the same: [start, end) pairs. */
export function matches(text: string, wanted: string): [number, number][] {
  const found: [number, number][] = [];
  const needle = wanted.toLowerCase();
  const hay = text.toLowerCase();
  if (!needle || hay.length !== text.length) return found;
  for (let at = hay.indexOf(needle); at >= 0; at = hay.indexOf(needle, at + needle.length)) found.push([at, at + needle.length]);
  return found;
}

/** The lines as text for the clipboard. */
export function asText(lines: readonly Line[]): string {
  return lines.map((line) => (line.skipped ? `… ${line.skipped} bytes left out …` : plain(line.text))).join("\n");
}
