// A traced model in the page: columns of numbers by row, which rows a search keeps, and which are shown, in which order.

type Sparse = { rows: number[]; values: unknown[] };

/** What `to_wire` in Python makes of a trace. */
export type Wire = {
  model: string;
  problem: string | null;
  failed: string | null;
  parent: number[];
  columns: Record<string, unknown[] | Sparse>;
  spikes: Record<string, unknown[]>;
  texts: string[];
};

/** How a module fires; the names are those of `SpikeFacts`. */
export type Spikes = {
  num_levels: number; num_steps: number; coding: string; signed: boolean; weight_bits: number | null; salient_fraction: number | null;
  slots: number; active_slots: number; pairs: number; silent: number; unary_events: number; dense_macs: number; effective_macs: number;
  ac_unary: number; ac_bitwise: number; histogram: number[]; histogram_start: number; histogram_width: number;
};

export type Filter = { search: string; spiking: boolean; trainable: boolean; differing: boolean };
export type Order<Key> = { column: Key; down: boolean } | null;

const UNKNOWN = new Set(["energy_pj", "own_energy_pj", "seconds", "memory_bytes"]);
const FIRES = new Set(["spiking", "neuron"]);

/** What hangs below what, and the last part of each dotted name. */
export type Shape = { parent: readonly number[]; names: string[] };

/** Rows in the order of the trace: a module, then everything in it up to `end`. */
export class Tree {
  readonly count: number;
  readonly parent: Int32Array;
  readonly end: Int32Array;
  readonly depth: Int32Array;
  readonly names: string[];
  readonly paths: string[];
  readonly deepest: number;
  readonly #spikes: Map<number, number>;
  readonly #numbers = new Map<string, Float64Array>();
  #index: Map<string, number> | null = null;
  #low: string[] | null = null;
  #words: string[] | null = null;

  constructor(readonly wire: Wire, shape: Shape = shapeOf(wire)) {
    this.count = shape.parent.length;
    this.parent = Int32Array.from(shape.parent);
    this.end = new Int32Array(this.count);
    this.depth = new Int32Array(this.count);
    this.names = shape.names;
    this.paths = new Array<string>(this.count).fill("");
    let deepest = 0;
    for (let row = 1; row < this.count; row++) {
      const above = this.parent[row] as number;
      const depth = (this.depth[above] as number) + 1;
      this.depth[row] = depth;
      if (depth > deepest) deepest = depth;
      this.paths[row] = above > 0 ? `${this.paths[above]}.${this.names[row]}` : this.names[row] as string;
    }
    for (let row = this.count - 1; row >= 0; row--) {
      if (!this.end[row]) this.end[row] = row + 1;
      const above = this.parent[row] as number;
      if (above >= 0) this.end[above] = Math.max(this.end[above] as number, this.end[row] as number);
    }
    this.names[0] = wire.model;
    this.deepest = deepest;
    this.#spikes = new Map(this.firing.map((row, at) => [row, at]));
  }

  /** Rows of the wire that fire by themselves, in its order. */
  get firing(): number[] {
    return this.wire.spikes["rows"] as number[];
  }

  /** Whether anything in it fires. */
  get spiking(): boolean {
    return this.firing.length > 0;
  }

  /** Whether there is something in a module. */
  opens(row: number): boolean {
    return (this.end[row] as number) > row + 1;
  }

  /** A quantity of every row, NaN where it is not known. `firing` and `macs` are made here. */
  numbers(name: string): Float64Array {
    let found = this.#numbers.get(name);
    if (!found) {
      found = this.made(name);
      this.#numbers.set(name, found);
    }
    return found;
  }

  /** Has the rows fire at other rates than in the trace: one for each of `firing`, NaN where it is not known; null goes back. */
  fireAt(rates: Float32Array | null): void {
    if (rates) this.#numbers.set("firing", this.rates(rates));
    else this.#numbers.delete("firing");
  }

  /** A text of a row that is held once for all: class_name, module, kind, file, signature, inputs, outputs. */
  text(name: string, row: number): string {
    return this.wire.texts[(this.wire.columns[name] as number[])[row] as number] as string;
  }

  /** Anything else of a row, as its problem or its aliases. */
  other(name: string, row: number): unknown {
    const column = this.wire.columns[name];
    if (column === undefined) return null;
    if (Array.isArray(column)) return column[row];
    const at = column.rows.indexOf(row);
    return at < 0 ? null : column.values[at];
  }

  /** How a row fires by itself. */
  spikes(row: number): Spikes | null {
    const at = this.#spikes.get(row);
    if (at === undefined) return null;
    return Object.fromEntries(Object.entries(this.wire.spikes).map(([name, values]) => [name, values[at]])) as unknown as Spikes;
  }

  /** Whether a row fires by itself. */
  fires(row: number): boolean {
    return this.#spikes.has(row) || FIRES.has(this.text("kind", row));
  }

  /** The row of a dotted name, −1 where there is none. */
  row(path: string | null): number {
    if (path === null) return -1;
    this.#index ??= new Map(this.paths.map((each, row) => [each, row]));
    return this.#index.get(path) ?? -1;
  }

  /** Which rows differ from those they are compared with; null where nothing is. */
  differing(): Uint8Array | null {
    return null;
  }

  /** Which rows have a word, in small letters, in their name, class or shapes; one with a dot also in the dotted name. */
  having(word: string): Uint8Array {
    this.#low ??= this.wire.texts.map((text) => text.toLowerCase());
    this.#words ??= this.wire.texts.map((text) => tensors(text).map((each) => each.shape).join(" "));
    const inText = Uint8Array.from(this.#low, (text) => Number(text.includes(word)));
    const inShape = Uint8Array.from(this.#words, (text) => Number(text.includes(word)));
    const [names, classes, inputs, outputs] = (["name", "class_name", "inputs", "outputs"] as const).map((name) => this.wire.columns[name] as number[]) as [number[], number[], number[], number[]];
    const found = new Uint8Array(names.length);
    for (let row = 0; row < found.length; row++) {
      found[row] = (inText[names[row] as number] as number) | (inText[classes[row] as number] as number)
        | (inShape[inputs[row] as number] as number) | (inShape[outputs[row] as number] as number);
    }
    if (word.includes(".")) this.paths.forEach((path, row) => { if (path.toLowerCase().includes(word)) found[row] = 1; });
    return found;
  }

  protected made(name: string): Float64Array {
    if (name === "macs") return this.numbers("flops").map((flops) => Math.floor(flops / 2));
    return name === "firing" ? this.rates(null) : this.#plain(name);
  }

  #plain(name: string): Float64Array {
    const column = this.wire.columns[name];
    const values = new Float64Array(this.count).fill(UNKNOWN.has(name) ? Number.NaN : 0);
    const put = (row: number, value: unknown) => { values[row] = value === null ? Number.NaN : Number(value); };
    if (Array.isArray(column)) column.forEach((value, row) => put(row, value));
    else column?.rows.forEach((row, at) => put(row, column.values[at]));
    return values;
  }

  /** Share of the slots of each row, and of everything in it, that hold a spike: as traced, or at other rates. */
  protected rates(rates: Float32Array | null): Float64Array {
    const slots = new Float64Array(this.count);
    const active = new Float64Array(this.count);
    const { slots: each, active_slots: some } = this.wire.spikes as Record<string, number[]>;
    this.firing.forEach((row, at) => {
      const all = each?.[at] ?? 0;
      const rate = rates ? rates[at] as number : 0;
      if (Number.isNaN(rate)) return;
      slots[row] = all;
      active[row] = rates ? rate * all : some?.[at] ?? 0;
    });
    for (let row = this.count - 1; row > 0; row--) {
      const above = this.parent[row] as number;
      slots[above] = (slots[above] as number) + (slots[row] as number);
      active[above] = (active[above] as number) + (active[row] as number);
    }
    return active.map((count, row) => (slots[row] ? count / (slots[row] as number) : Number.NaN));
  }
}

function shapeOf(wire: Wire): Shape {
  return { parent: wire.parent, names: (wire.columns["name"] as number[]).map((at) => wire.texts[at] as string) };
}

/** The tensors of a text such as "x:2,8 float32\n…". */
export function tensors(text: string): { name: string; shape: string; dtype: string }[] {
  return text.split("\n").flatMap((line) => {
    const found = /^(.*):([\d,]*) (\w+)$/.exec(line);
    return found ? [{ name: found[1] as string, shape: (found[2] as string).replaceAll(",", "×") || "scalar", dtype: found[3] as string }] : [];
  });
}

/** The words of a search; 2x8, 2*8, (2, 8) and 2,8 all mean the shape 2×8. A word with a dot is looked for in the whole dotted name. */
export function wordsOf(search: string): string[] {
  return search.toLowerCase().replace(/[()[\]]/g, " ").replace(/(\d)\s*[x*×,]\s*(?=\d)/g, "$1×").split(/\s+/).filter(Boolean);
}

/** Which rows a filter keeps: 2 for what it finds, 1 for what is around that, 0 for the rest; null if it keeps all. */
export function kept(tree: Tree, filter: Filter): Uint8Array | null {
  const having = wordsOf(filter.search).map((word) => tree.having(word));
  const differing = filter.differing ? tree.differing() : null;
  if (!having.length && !filter.spiking && !filter.trainable && !differing) return null;
  const marks = new Uint8Array(tree.count);
  const [trainable, own] = [tree.numbers("trainable"), tree.numbers("own_parameters")];
  for (let row = tree.count - 1; row >= 0; row--) {
    if (having.every((found) => found[row]) && (!filter.spiking || tree.fires(row)) && (!differing || differing[row])
      && (!filter.trainable || ((trainable[row] as number) > 0 && (own[row] as number) > 0))) marks[row] = 2;
    const above = tree.parent[row] as number;
    if (marks[row] && above >= 0 && !marks[above]) marks[above] = 1;
  }
  return marks;
}

/** Rows opened so that everything kept is seen. */
export function openedFor(tree: Tree, marks: Uint8Array): Uint8Array {
  const open = new Uint8Array(tree.count);
  for (let row = 1; row < tree.count; row++) if (marks[row]) open[tree.parent[row] as number] = 1;
  return open;
}

/** Rows opened down to a depth: 1 shows the parts of the model. */
export function openedTo(tree: Tree, depth: number): Uint8Array {
  return Uint8Array.from(tree.depth, (each, row) => Number(each < depth && tree.opens(row)));
}

/** The greatest depth at which at most so many rows show, 1 at least. */
export function fittingDepth(tree: Tree, most: number): number {
  const levels = new Array<number>(tree.deepest + 1).fill(0);
  tree.depth.forEach((depth) => { levels[depth] = (levels[depth] as number) + 1; });
  let rows = 0;
  const beyond = levels.findIndex((level) => (rows += level) > most);
  return Math.max(1, beyond < 0 ? tree.deepest : beyond - 1);
}

/** Opens everything around a row. */
export function reveal(tree: Tree, open: Uint8Array, row: number): void {
  for (let above = tree.parent[row] ?? -1; above >= 0; above = tree.parent[above] as number) open[above] = 1;
}

/** Rows right below one. */
export function children(tree: Tree, row: number): number[] {
  const found: number[] = [];
  for (let each = row + 1; each < (tree.end[row] as number); each = tree.end[each] as number) found.push(each);
  return found;
}

/** The rows shown from top to bottom; `compare` orders those with the same row above. */
export function shown(tree: Tree, open: Uint8Array, marks: Uint8Array | null, compare: ((a: number, b: number) => number) | null): Int32Array {
  const found: number[] = [];
  if (!compare) {
    for (let row = 0; row < tree.count;) {
      if (marks && !marks[row]) { row = tree.end[row] as number; continue; }
      found.push(row);
      row = open[row] ? row + 1 : tree.end[row] as number;
    }
    return Int32Array.from(found);
  }
  const waiting = !marks || marks[0] ? [0] : [];
  for (let row = waiting.pop(); row !== undefined; row = waiting.pop()) {
    found.push(row);
    if (!open[row]) continue;
    const below = children(tree, row).filter((each) => !marks || marks[each]).sort(compare);
    for (let at = below.length - 1; at >= 0; at--) waiting.push(below[at] as number);
  }
  return Int32Array.from(found);
}

/** An element for each row drawn: a row keeps the one it has, others take what has become free, lowest first. Scrolling then makes no new elements. */
export function seats(before: ReadonlyMap<number, number>, rows: readonly number[]): Map<number, number> {
  const wanted = new Set(rows);
  const found = new Map([...before].filter(([row]) => wanted.has(row)));
  const taken = new Set(found.values());
  let free = 0;
  for (const row of rows) {
    if (found.has(row)) continue;
    while (taken.has(free)) free++;
    found.set(row, free);
    taken.add(free);
  }
  return found;
}
