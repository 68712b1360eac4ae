// Two traces as one tree: every module of either, what it was and what it is.
import { type Spikes, Tree, type Wire } from "./model_tree";

/** What became of a module; "affected" was left as it was, and only fires differently. */
export type State = "same" | "changed" | "affected" | "new" | "gone";
export type Side = "before" | "after";

/** What `to_wire` of a comparison makes in Python, beside the wires of the two traces. */
export type ComparisonWire = {
  states: Exclude<State, "affected">[];
  before: number[];
  after: number[];
  parent: number[];
  state: number[];
  below: number[];
  changed: Record<string, number[]>;
  affected: number[];
  notes: string[];
};

/** How the two states of a row relate, in one letter. */
export const SYMBOLS: Record<State, string> = { same: "", changed: "≠", affected: "≈", new: "+", gone: "−" };

/** The same in words, of one module. */
export const WORDS: Record<State, string> = { same: "the same", changed: "changed", affected: "fires differently", new: "new", gone: "gone" };

/** How many modules in a row differ, in words. */
export const inside = (below: number) => `${below === 1 ? "one difference" : `${below} differences`} in it`;

/** Modules as they are after; those that are gone as they were before. */
export class ComparedTree extends Tree {
  readonly #differing: Uint8Array;
  readonly #affected: Set<number>;
  readonly #changed: Map<string, Set<number>>;
  /** How many rows are in each state. */
  readonly counts: Readonly<Record<State, number>>;

  constructor(readonly old: Tree, readonly now: Tree, readonly rows: ComparisonWire) {
    const names = rows.after.map((row, at) => (row < 0 ? old.names[rows.before[at] as number] : now.names[row]) as string);
    super({ ...now.wire, spikes: { rows: [] } }, { parent: rows.parent, names });
    const same = rows.states.indexOf("same");
    this.#changed = new Map(Object.entries(rows.changed).map(([name, own]) => [name, new Set(own)]));
    this.#affected = new Set(rows.affected);
    const counts = { same: 0, changed: 0, affected: 0, new: 0, gone: 0 };
    rows.state.forEach((_, row) => { counts[this.state(row)]++; });
    this.counts = counts;
    this.#differing = Uint8Array.from(rows.state, (state) => Number(state !== same));
  }

  override get firing(): number[] {
    return [];
  }

  /** The tree of a side, and the row in it; null where the module is not there. */
  at(side: Side, row: number): [Tree, number] | null {
    const found = this.rows[side][row] as number;
    return found < 0 ? null : [side === "before" ? this.old : this.now, found];
  }

  #here(row: number): [Tree, number] {
    return (this.at("after", row) ?? this.at("before", row)) as [Tree, number];
  }

  state(row: number): State {
    return this.#affected.has(row) ? "affected" : this.rows.states[this.rows.state[row] as number] as State;
  }

  /** Differing modules in a row. */
  below(row: number): number {
    return this.rows.below[row] as number;
  }

  /** Whether a field of a row differs. */
  differs(name: string, row: number): boolean {
    return this.#changed.get(name)?.has(row) ?? false;
  }

  /** In how many rows a field differs. */
  changed(name: string): number {
    return this.#changed.get(name)?.size ?? 0;
  }

  override get spiking(): boolean {
    return this.old.spiking || this.now.spiking;
  }

  override differing(): Uint8Array {
    return this.#differing;
  }

  override text(name: string, row: number): string {
    const [tree, at] = this.#here(row);
    return tree.text(name, at);
  }

  override other(name: string, row: number): unknown {
    const [tree, at] = this.#here(row);
    return tree.other(name, at);
  }

  override spikes(row: number): Spikes | null {
    const [tree, at] = this.#here(row);
    return tree.spikes(at);
  }

  override fires(row: number): boolean {
    const [tree, at] = this.#here(row);
    return tree.fires(at);
  }

  override having(word: string): Uint8Array {
    const [was, is] = [this.old.having(word), this.now.having(word)];
    return Uint8Array.from(this.parent, (_, row) => Number(was[this.rows.before[row] as number] || is[this.rows.after[row] as number]));
  }

  protected override made(name: string): Float64Array {
    const [was, is] = [this.old.numbers(name), this.now.numbers(name)];
    return Float64Array.from(this.parent, (_, row) => {
      const after = this.rows.after[row] as number;
      return (after < 0 ? was[this.rows.before[row] as number] : is[after]) as number;
    });
  }
}

/** The tree to show: of one trace, or of two. */
export function treeOf(wire: Wire, other: { before: Wire; rows: ComparisonWire } | null): Tree {
  const tree = new Tree(wire);
  return other ? new ComparedTree(new Tree(other.before), tree, other.rows) : tree;
}

/** How many times as much it is after; NaN where one is not known, or there was nothing before. */
export function ratio(was: number, is: number): number {
  return was > 0 ? is / was : Number.NaN;
}

/** A ratio as ×0.25, ×12. */
export function times(share: number): string {
  if (Number.isNaN(share)) return "";
  if (share === 1) return "=";
  if (share === 0) return "×0";
  const digits = share >= 100 ? 0 : share >= 10 ? 1 : share >= 0.095 ? 2 : 3;
  const text = share.toFixed(digits);
  return `×${Number(text) === 1 ? share.toPrecision(4) : Number(text) === 0 ? share.toExponential(1) : text}`;
}

/** Row of the next differing module in a direction, around the end; −1 where nothing differs. */
export function nextDifference(tree: ComparedTree, from: number, way: 1 | -1): number {
  const differing = tree.differing();
  for (let step = 1; step <= tree.count; step++) {
    const row = (((from + way * step) % tree.count) + tree.count) % tree.count;
    if (differing[row]) return row;
  }
  return -1;
}

/** Which of the differing modules a row is, from 1; 0 for one that does not differ. */
export function placeOf(tree: ComparedTree, row: number): number {
  const differing = tree.differing();
  return differing[row] ? differing.subarray(0, row + 1).reduce((sum, each) => sum + each, 0) : 0;
}
