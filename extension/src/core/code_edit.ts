// What an editor of modules shows, without a page: problems by line, what an edit changes, and what it did.
import type { Problem } from "../ui/widget";

/** One thing wrong with an edited text; `line` counts from 1. */
export interface EditProblem extends Problem {
  check: string;
  line: number | null;
}

/** The class of one module as it is now. */
export interface Source {
  path: string;
  class_name: string;
  module: string;
  file: string;
  line: number;
  text: string;
  original: string;
  hash: string;
  same_class: number;
  layers: { first: number; last: number; pattern: string } | null;
  reason: string;
  magic: string;
}

/** Which modules an edit is for. */
export interface Target {
  mode: "this" | "class" | "layers";
  layers: string;
}

export interface Measured {
  name: string;
  before: string;
  after: string;
  change: string;
  better: boolean | null;
}

/** What came of the last check, application or revert. */
export interface Outcome {
  path: string;
  doing: "validate" | "apply" | "revert" | "spec" | "fork";
  state: "running" | "done" | "failed" | "cancelled";
  said: string;
  started: number;
  seconds: number | null;
  problems: EditProblem[];
  new: string[];
  kept: string[];
  dropped: string[];
  effect: Measured[];
  notes: string[];
  for_text: string;
}

/** One entry of the history, oldest first. */
export interface Past {
  number: number;
  id: string;
  kind: "code" | "spec";
  class_name: string;
  targets: string[];
  note: string;
  diff: string;
  time: number;
  step: number | null;
  reverted: boolean;
  label: string;
  problem: Problem | null;
}

interface Lines {
  lines: number;
  line(number: number): { from: number; to: number; text: string };
}

export interface Diagnostic {
  from: number;
  to: number;
  severity: "error" | "warning";
  source: string;
  message: string;
}

/** Problems at their places in a document; one without a line is told elsewhere. */
export function diagnosticsOf(problems: readonly EditProblem[], doc: Lines): Diagnostic[] {
  return problems
    .filter((problem) => problem.line !== null)
    .map((problem) => {
      const line = doc.line(Math.min(Math.max(problem.line as number, 1), doc.lines));
      const named = problem.received ? line.text.indexOf(problem.received) : -1; // the words meant, where they are told
      const start = named >= 0 ? named : line.text.length - line.text.trimStart().length;
      const to = named >= 0 ? line.from + start + (problem.received as string).length : line.to;
      return { from: Math.min(line.from + start, line.to), to, severity: "error" as const, source: problem.check, message: said(problem) };
    })
    .sort((a, b) => a.from - b.from);
}

/** A problem in a few lines of text. */
export function said(problem: EditProblem): string {
  const more: [string, string | undefined][] = [["expected", problem.expected], ["received", problem.received], ["what to do", problem.fix]];
  return [problem.message, ...more.filter(([, text]) => text).map(([name, text]) => `${name}: ${text}`)].join("\n");
}

/** Lines that a text has gained and lost against another one, as `diff` counts them. */
export function changed(before: string, after: string): { added: number; removed: number } {
  const [old, now] = [before.split("\n"), after.split("\n")];
  let start = 0;
  while (start < old.length && start < now.length && old[start] === now[start]) start += 1;
  let [endOld, endNow] = [old.length, now.length];
  while (endOld > start && endNow > start && old[endOld - 1] === now[endNow - 1]) { endOld -= 1; endNow -= 1; }
  const common = commonLines(old.slice(start, endOld), now.slice(start, endNow));
  return { added: endNow - start - common, removed: endOld - start - common };
}

/** Length of the longest common subsequence; of texts of thousands of lines, of their beginnings. */
function commonLines(old: string[], now: string[]): number {
  let row = new Uint32Array(now.length + 1);
  for (const line of old.slice(0, 4000)) {
    const next = new Uint32Array(row.length);
    for (let at = 0; at < now.length; at += 1) {
      next[at + 1] = line === now[at] ? (row[at] as number) + 1 : Math.max(row[at + 1] as number, next[at] as number);
    }
    row = next;
  }
  return row[now.length] as number;
}

/** The words of a `%%darkit` line for a choice of targets. */
export function options({ mode, layers }: Target): string {
  return mode === "class" ? " --class" : mode === "layers" ? ` --layers ${layers}` : "";
}

/** What an edit is for, in words; null where the layers cannot be read. */
export function aimed(target: Target, source: Source): string | null {
  if (target.mode === "this") return "1 module";
  if (target.mode === "class") return `${source.same_class} modules`;
  const range = /^(\d*):(\d*)$/.exec(target.layers.trim());
  if (!range || !source.layers) return null;
  const first = range[1] ? Number(range[1]) : source.layers.first;
  const end = range[2] ? Number(range[2]) : source.layers.last + 1;
  const count = Math.min(end, source.layers.last + 1) - Math.max(first, source.layers.first);
  return count > 0 ? `${count} module${count === 1 ? "" : "s"}` : null;
}

/** The text of a cell that would make the edit. */
export function cellOf(source: Source, target: Target, text: string): string {
  return `%%darkit patch ${source.magic}${options(target)}\n${text}`;
}

/** Where the applied edits of a history end: how many a revert to before `number` takes back. */
export function countBack(history: readonly Past[], number: number): number {
  return history.filter((past) => !past.reverted && past.number >= number).length;
}

/** One line about an entry of the history. */
export function title(past: Past): string {
  return past.note || past.label;
}
