// The columns of a model tree: what they say, how rows compare by them, how strongly they colour, and which fit.
import { energy, percent, short, significant } from "./format";
import { type Order, tensors, type Tree } from "./model_tree";
import { ComparedTree, ratio, type Side, times } from "./tree_compare";

export type Quantity = "class" | "inputs" | "outputs" | "parameters" | "macs" | "code" | "firing" | "energy" | "calls" | "seconds" | "memory";
export type ColumnKey = "name" | "before" | "after" | "ratio" | Quantity;
export type Column = { key: ColumnKey; title: string; help: string; px: number; number: boolean; heat?: true; of?: Quantity };

/** The name comes first and takes what the others leave. */
export const NAME: Column = { key: "name", title: "module", help: "Sort by name", px: 232, number: false };

const COLUMNS: (Column & { key: Quantity })[] = [
  { key: "class", title: "class", help: "Class of the module", px: 144, number: false },
  { key: "inputs", title: "input", help: "Shape of its first input", px: 104, number: false },
  { key: "outputs", title: "output", help: "Shape of its first output", px: 104, number: false },
  { key: "calls", title: "calls", help: "Calls in one call of the module around it: spike steps, or uses of shared layers", px: 56, number: true },
  { key: "parameters", title: "params", help: "Parameters of it and everything in it", px: 86, number: true, heat: true },
  { key: "macs", title: "MACs", help: "Multiply-accumulates of it and everything in it, in float", px: 86, number: true, heat: true },
  { key: "code", title: "spikes", help: "Levels Q and steps S of its spikes", px: 72, number: false },
  { key: "firing", title: "fires", help: "Share of spike slots that hold a spike", px: 78, number: true, heat: true },
  { key: "energy", title: "energy", help: "Simulated, at 45 nm: arithmetic of products only", px: 90, number: true, heat: true },
  { key: "seconds", title: "time", help: "Wall clock of all its calls", px: 80, number: true, heat: true },
  { key: "memory", title: "memory", help: "Most memory of activations during a call", px: 84, number: true, heat: true },
];

/** What is left out first where there is little room. */
const SPARE: ColumnKey[] = ["memory", "inputs", "seconds", "code", "calls", "class", "outputs", "macs", "firing", "parameters", "energy", "before", "after", "ratio"];

const FIELDS: Partial<Record<Quantity, string>> = { parameters: "parameters", macs: "macs", firing: "firing", energy: "energy_pj", seconds: "seconds", memory: "memory_bytes" };

/** Fields of a comparison by the quantity that shows them, the most telling first. */
export const COMPARED: readonly [Quantity, string][] = [
  ["energy", "energy_pj"], ["firing", "firing_rate"], ["macs", "flops"], ["parameters", "parameters"], ["class", "class_name"],
  ["outputs", "outputs"], ["inputs", "inputs"], ["code", "spikes"], ["calls", "calls"],
];

/** The columns that have something to say about a model. */
export function columnsOf(tree: Tree): Column[] {
  const has = (name: string) => tree.numbers(name).some((value) => value > 0);
  const said: Partial<Record<ColumnKey, boolean>> = {
    calls: tree.numbers("calls").some((_, row) => calls(tree, row) > 1), code: tree.spiking,
    macs: has("macs"), firing: !tree.numbers("firing").every(Number.isNaN), energy: has("energy_pj"), seconds: has("seconds"), memory: has("memory_bytes"),
  };
  return COLUMNS.filter((column) => said[column.key] ?? true);
}

/** The quantity that two traces differ in and that says most; parameters where they do not differ. */
export function tellingQuantity(tree: ComparedTree): Quantity {
  return COMPARED.find(([, field]) => tree.changed(field) > 0)?.[0] ?? "parameters";
}

/** A quantity before, after, and how many times as much; the ratio of numbers only. */
export function comparedColumns(of: Quantity): Column[] {
  const known = COLUMNS.find((column) => column.key === of) as Column;
  const px = Math.max(known.px, 112);
  const sides: Column[] = (["before", "after"] as const).map((key) => ({ ...known, key, of, px, title: `${known.title} ${key}`, help: `${known.help}, ${key}` }));
  const both: Column = { key: "ratio", of, title: "ratio", help: `How many times as much ${known.title} after`, px: 96, number: true };
  return known.number ? [...sides, both] : sides;
}

/** Those of the columns that fit beside the name; one at least. */
export function fitting(columns: readonly Column[], width: number, name = NAME.px): Column[] {
  const chosen = new Set(columns.map((column) => column.key));
  const needed = () => name + columns.reduce((sum, column) => sum + (chosen.has(column.key) ? column.px : 0), 0);
  for (const key of SPARE) {
    if (needed() <= width || chosen.size === 1) break;
    chosen.delete(key);
  }
  return columns.filter((column) => chosen.has(column.key));
}

/** Calls of a row in one call of what is around it, or in all where they do not divide evenly. */
export function calls(tree: Tree, row: number): number {
  return (tree.numbers("calls_per_parent")[row] as number) || (tree.numbers("calls")[row] as number);
}

/** Where the value of a column stands: the tree of its side and the row in it; null where the module is not there. */
function placed(tree: Tree, key: ColumnKey, row: number): [Tree, number] | null {
  return tree instanceof ComparedTree && (key === "before" || key === "after") ? tree.at(key as Side, row) : [tree, row];
}

/** The number behind a cell, NaN where there is none; `of` is the quantity that is compared. */
export function value(tree: Tree, key: ColumnKey, row: number, of: Quantity | null = null): number {
  if (key === "ratio") return of ? ratio(value(tree, "before", row, of), value(tree, "after", row, of)) : Number.NaN;
  const [quantity, place] = [key === "before" || key === "after" ? of : key, placed(tree, key, row)];
  if (!place || quantity === null || quantity === "name") return Number.NaN;
  const [from, at] = place;
  if (quantity === "calls") return calls(from, at);
  const field = FIELDS[quantity as Quantity];
  return field === undefined ? Number.NaN : from.numbers(field)[at] as number;
}

/** The words of a cell; `of` is the quantity that is compared. */
export function cell(tree: Tree, key: ColumnKey, row: number, of: Quantity | null = null): string {
  if (key === "name") return tree.names[row] as string;
  if (key === "ratio") return times(value(tree, key, row, of));
  const [quantity, place] = [key === "before" || key === "after" ? of : key, placed(tree, key, row)];
  return place && quantity !== null ? words(place[0], quantity, place[1]) : "";
}

function words(tree: Tree, key: Quantity, row: number): string {
  const number = value(tree, key, row);
  switch (key) {
    case "class": return className(tree, row);
    case "inputs":
    case "outputs": return shapes(tree, key, row);
    case "code": {
      const spikes = tree.spikes(row);
      return spikes ? `Q${spikes.num_levels} S${spikes.num_steps}` : "";
    }
    case "calls": return number > 1 ? `×${number}` : "";
    case "firing": return Number.isNaN(number) ? "" : percent(number);
    case "energy": return number > 0 ? energy(number) : "";
    case "seconds": return Number.isNaN(number) ? "" : time(number);
    case "memory": return number > 0 ? bytes(number) : "";
    default: return number > 0 ? short(number) : "";
  }
}

/** The class of a row; both, where it was another one before. */
export function className(tree: Tree, row: number): string {
  const own = tree.text("class_name", row);
  const before = tree instanceof ComparedTree && tree.differs("class_name", row) ? tree.at("before", row) : null;
  const other = before ? before[0].text("class_name", before[1]) : own;
  return other === own ? own : `${other} → ${own}`;
}

function shapes(tree: Tree, key: "inputs" | "outputs", row: number): string {
  const found = tensors(tree.text(key, row));
  return found[0] ? found[0].shape + (found.length > 1 || tree.numbers("shapes_vary")[row] ? " …" : "") : "";
}

/** Seconds as 1.2 ms. */
export function time(seconds: number): string {
  return seconds >= 1 ? `${significant(seconds, 3)} s` : `${significant(seconds * 1e3, 3)} ms`;
}

/** Bytes as 1.2 MB. */
export function bytes(size: number): string {
  return short(size, "B");
}

/** The greatest value of every level, which the bars of that level are compared with, those of both sides with the same; a firing rate is a share as it is. */
export function levels(tree: Tree, key: ColumnKey, of: Quantity | null = null): Float64Array {
  const share = (of && (key === "before" || key === "after") ? of : key) === "firing";
  const most = new Float64Array(tree.deepest + 1).fill(share ? 1 : 0);
  const sides: ColumnKey[] = of && (key === "before" || key === "after") ? ["before", "after"] : [key];
  for (let row = 0; row < tree.count && !share; row++) {
    const depth = tree.depth[row] as number;
    for (const side of sides) {
      const each = value(tree, side, row, of);
      if (each > (most[depth] as number)) most[depth] = each;
    }
  }
  return most;
}

const NATURAL = new Intl.Collator("en", { numeric: true });

/** How two rows compare; what has no value comes last either way, and equals stay in the order of the model. */
export function comparison(tree: Tree, order: Order<ColumnKey>, of: Quantity | null = null): ((a: number, b: number) => number) | null {
  if (!order) return null;
  const { column, down } = order;
  const way = down ? -1 : 1;
  const own = column === "before" || column === "after" || column === "ratio" ? of : column;
  const number = COLUMNS.some((each) => each.key === own && each.number);
  const by = number ? (row: number) => value(tree, column, row, of) : (row: number) => cell(tree, column, row, of);
  return (a, b) => {
    const [one, other] = [by(a), by(b)];
    const none = Number(empty(one)) - Number(empty(other));
    if (none || empty(one)) return none || a - b;
    if (typeof one === "string") return way * NATURAL.compare(one, other as string) || a - b;
    return way * (one - (other as number)) || a - b;
  };
}

const empty = (value: number | string) => value === "" || Number.isNaN(value);

/** The order after a click on a title: numbers greatest first, words from A; then the other way; then as in the model. */
export function nextOrder(order: Order<ColumnKey>, column: Column): Order<ColumnKey> {
  if (order?.column !== column.key) return { column: column.key, down: column.number };
  return order.down === column.number ? { column: column.key, down: !column.number } : null;
}
