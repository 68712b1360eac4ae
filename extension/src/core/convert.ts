// A conversion without a page: scales and ticks of its charts, the cells of its heat map, the points that nothing beats.
import { duration } from "./format";

export type Layer = {
  name: string; in_features: number; out_features: number; error: number; mean_steps: number;
  activation_bits: number; code_bits: number; weight_bits: number; storage_bits: number;
};
export type Block = {
  index: number; name: string; seconds: number; peak_bytes: number | null; error: number; own_error: number | null;
  resumed: boolean; losses: number[]; layers: Layer[];
};
/** One model in the comparison, as Python tells it; the float model has no operations saved. */
export type Row = {
  id: string; name: string; source: string; state: string; words: string; float: boolean; preset: string;
  perplexity: number | null; bits_per_byte: number | null; delta: number | null; low: number | null; high: number | null;
  mean_steps: number | null; code_bits: number | null; storage_bits: number | null; weight_bytes: number | null;
  ace: number | null; energy_pj: number | null; seconds: number | null; peak_bytes: number | null;
  /** Why there is no difference: what it was scored on was not the same. */
  why: string;
  /** Whether the others are put beside this one. */
  reference: boolean;
};

/** How long blocks take; `since_s` of them the one at work has taken already. */
export type Pace = {
  block_s: number; since_s: number; left: number; measured: boolean; planned_s: number | null; expected_s: number;
};

const FAR_OFF = 1.5;

/** Seconds until all blocks are done, `later` seconds after the pace was told. A block that takes longer slows them all. */
export function restOfBlocks({ block_s, since_s, left }: Pace, later: number): number {
  const spent = since_s + later;
  return Math.max(0, left * Math.max(block_s, spent) - spent);
}

/** The same in words, as exact as it can be meant, with what the plan said where it was far off. */
export function paceText(pace: Pace, later: number): string {
  const rest = restOfBlocks(pace, later);
  if (rest === 0) return "the last block takes longer than those before";
  const slow = Math.max(pace.expected_s, (pace.since_s + later) * pace.left);
  const off = pace.planned_s !== null && slow > FAR_OFF * pace.planned_s;
  const source = off ? ` (plan: ${duration(pace.planned_s)})` : pace.measured ? "" : ", by the plan";
  return `about ${duration(roughly(rest))} left for the blocks${source}`;
}

function roughly(seconds: number): number {
  const step = seconds < 60 ? 5 : seconds < 600 ? 10 : seconds < 3600 ? 60 : 600;
  return step * Math.max(1, Math.round(seconds / step));
}

/** What it lost to whatever all are put beside; nothing to itself. */
export function lossOf(row: Row): number | null {
  return row.reference ? 0 : row.delta;
}

export type Scale = { of: (value: number) => number; ticks: number[] };

/** Round numbers that cover a range, about `count` of them. */
export function niceTicks(low: number, high: number, count = 4): number[] {
  if (!(high > low)) return [low];
  const raw = (high - low) / Math.max(1, count);
  const size = 10 ** Math.floor(Math.log10(raw));
  const step = size * ([1, 2, 2.5, 5, 10].find((each) => each * size >= raw * 0.999) ?? 10);
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

/** Powers of ten in a range, with 2 and 5 between them where they are few. */
export function logTicks(low: number, high: number): number[] {
  const between = (parts: number[]) => {
    const found: number[] = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1)
      for (const part of parts) {
        const value = Number((part * 10 ** power).toPrecision(6));
        if (value >= low * 0.999 && value <= high * 1.001) found.push(value);
      }
    return found;
  };
  return [[1], [1, 3], [1, 2, 5]].map(between).find((ticks) => ticks.length >= 3) ?? between([1, 2, 3, 5, 7]);
}

/** A linear axis from `from` to `to` pixels that begins at zero or a little below the lowest value. */
export function linear(values: readonly number[], from: number, to: number, zero: boolean): Scale {
  const found = values.filter(Number.isFinite);
  const top = found.length ? Math.max(...found) : 1;
  const bottom = zero || !found.length ? 0 : Math.min(...found);
  // Values that are nearly alike must not look as if they were far apart.
  const room = Math.max(top - bottom, 0.04 * Math.abs(top)) || 1;
  const spare = zero ? 0 : (room - (top - bottom)) / 2;
  const low = zero ? 0 : bottom - spare - 0.12 * room;
  const high = top + spare + (zero ? 0.08 : 0.16) * room;
  const one = !zero && found.length > 0 && top === bottom; // between equal values there is nothing to read off
  return { of: (value) => from + ((value - low) / (high - low)) * (to - from), ticks: one ? [top] : niceTicks(low, high) };
}

/** A logarithmic axis with some room at both ends. */
export function logarithmic(values: readonly number[], from: number, to: number): Scale {
  const found = values.filter((value) => Number.isFinite(value) && value > 0);
  const bottom = found.length ? Math.min(...found) : 1;
  const top = found.length ? Math.max(...found) : 10;
  const room = Math.max(0.12, 0.1 * Math.log10(top / bottom));
  const [low, high] = [Math.log10(bottom) - room, Math.log10(top) + room];
  return {
    of: (value) => from + ((Math.log10(value) - low) / (high - low)) * (to - from),
    ticks: logTicks(10 ** low, 10 ** high),
  };
}

/** Logarithmic where values span more than a factor of two and a half, linear otherwise. */
export function spread(values: readonly number[], from: number, to: number): Scale {
  const found = values.filter((value) => Number.isFinite(value) && value > 0);
  const wide = found.length === values.length && Math.max(...found) / Math.min(...found) > 2.5;
  return wide ? logarithmic(values, from, to) : linear(values, from, to, false);
}

const FAR_APART = 20;

/** The axis of what models lost against the float one, whose zero is on it unless losses are too far apart for that. */
export function lossScale(rows: readonly Row[], from: number, to: number): Scale & { zero: boolean } {
  const losses = rows.map(lossOf).filter((loss) => loss !== null);
  const apart = Math.min(...losses) > 0 && Math.max(...losses) > FAR_APART * Math.min(...losses);
  if (apart) return { ...logarithmic(losses, from, to), zero: false };
  const ends = rows.flatMap((row) => [lossOf(row), row.low, row.high]).filter((value): value is number => value !== null);
  return { ...linear([0, ...ends], from, to, false), zero: true };
}

export const HEATS = ["error", "mean_steps", "weight_bits", "storage_bits"] as const;
export type Heat = (typeof HEATS)[number];

export type HeatMap = { rows: string[]; cells: (Layer | null)[][] };

/** Layers by their place in a block (rows) and block (columns); a block that is not done yet has none. */
export function heatMap(blocks: readonly Block[], count: number): HeatMap {
  const rows = [...new Set(blocks.flatMap((block) => block.layers.map((layer) => place(layer, block))))];
  const columns = Math.max(count, ...blocks.map((block) => block.index + 1), 0);
  const cells = rows.map((row) =>
    Array.from({ length: columns }, (_, index) => {
      const block = blocks.find((each) => each.index === index);
      return block?.layers.find((layer) => place(layer, block) === row) ?? null;
    }));
  return { rows, cells };
}

function place(layer: Layer, block: Block): string {
  return layer.name.startsWith(`${block.name}.`) ? layer.name.slice(block.name.length + 1) : layer.name;
}

/** Whether colours follow the logarithm: where values span more than a factor of ten. */
export function isLogarithmic(values: readonly number[]): boolean {
  const found = values.filter(Number.isFinite);
  const low = Math.min(...found), high = Math.max(...found);
  return low > 0 && high / low > 10;
}

/** Share of the colour scale. */
export function heatShare(value: number, values: readonly number[]): number {
  const found = values.filter(Number.isFinite);
  const low = Math.min(...found), high = Math.max(...found);
  if (!(high > low)) return 0.5;
  if (isLogarithmic(values)) return Math.log(value / low) / Math.log(high / low);
  return (value - low) / (high - low);
}

export type Point = { id: string; x: number; y: number };

/** Points that no other beats in both, from left to right; less is better in both. */
export function frontier(points: readonly Point[]): Point[] {
  const sorted = [...points].sort((a, b) => a.x - b.x || a.y - b.y);
  const best: Point[] = [];
  for (const point of sorted) if (!best.length || point.y < (best[best.length - 1] as Point).y) best.push(point);
  return best;
}

export type Label = { id: string; x: number; y: number; anchor: "start" | "end" };

/** Left, top, right, bottom. */
export type Box = [number, number, number, number];

/** Small boxes along a line, which names keep clear of. */
export function alongLine(points: readonly { x: number; y: number }[], every = 8): Box[] {
  return points.slice(1).flatMap((to, index) => {
    const from = points[index] as { x: number; y: number };
    const count = Math.max(1, Math.ceil(Math.hypot(to.x - from.x, to.y - from.y) / every));
    return Array.from({ length: count - 1 }, (_, i): Box => {
      const share = (i + 1) / count;
      const [x, y] = [from.x + share * (to.x - from.x), from.y + share * (to.y - from.y)];
      return [x - 1, y - 1, x + 1, y + 1];
    });
  });
}

/** Where the names of points stand so that they cover neither one another nor a point nor others; some find no room.
 *
 * `soft` is kept clear of as long as there is another place.
 */
export function placeLabels(
  points: readonly { id: string; x: number; y: number; width: number }[],
  box: { left: number; right: number; top: number; bottom: number },
  others: readonly Box[] = [],
  soft: readonly Box[] = [],
): Label[] {
  const height = 14, gap = 9;
  const taken: Box[] = points.map(({ x, y }) => [x - 6, y - 6, x + 6, y + 6]);
  taken.push(...others);
  const placed: Label[] = [];
  for (const { id, x, y, width } of points) {
    const options: [number, number, "start" | "end"][] = [
      [x + gap, y + 4, "start"], [x - gap, y + 4, "end"], [x + 4, y - 9, "start"], [x + 4, y + 17, "start"],
      [x - 4, y - 9, "end"], [x - 4, y + 17, "end"],
    ];
    const clear = (left: number, top: number, room: Box) =>
      left + width <= room[0] || left >= room[2] || top + height <= room[1] || top >= room[3];
    const fits = options.filter(([at, base, anchor]) => {
      const left = anchor === "start" ? at : at - width, top = base - height + 3;
      if (left < box.left || left + width > box.right || top < box.top || base + 3 > box.bottom) return false;
      return taken.every((room, i) => points[i]?.id === id || clear(left, top, room));
    });
    const free = ([at, base, anchor]: [number, number, "start" | "end"]) =>
      soft.every((room) => clear(anchor === "start" ? at : at - width, base - height + 3, room));
    const fit = fits.find(free) ?? fits[0];
    if (!fit) continue;
    const [at, base, anchor] = fit;
    const left = anchor === "start" ? at : at - width;
    taken.push([left, base - height + 3, left + width, base + 3]);
    placed.push({ id, x: at, y: base, anchor });
  }
  return placed;
}

/** A relative squared error: as a percentage where that reads well. */
export function errorText(error: number): string {
  const value = 100 * error;
  if (!Number.isFinite(value)) return "not finite";
  if (value === 0) return "0 %";
  if (value < 0.01) return "<0.01 %";
  return `${value >= 10 ? value.toFixed(1) : value.toPrecision(2)} %`;
}

/** The same on an axis, where ticks are round. */
export function errorTick(error: number): string {
  return `${Number((100 * error).toPrecision(2))} %`;
}

/** A difference with its sign, and half of its 95 % interval; as many decimals as the interval needs. */
export function deltaParts(row: Row): [string, string] {
  if (row.reference) return ["reference", ""];
  if (row.delta === null) return ["–", row.why];
  const half = row.low === null || row.high === null ? null : (row.high - row.low) / 2;
  const decimals = half !== null && half < 0.001 ? 4 : 3;
  const sign = `${row.delta < 0 ? "−" : "+"}${Math.abs(row.delta).toFixed(decimals)}`;
  return [sign, half === null ? "" : `± ${half.toFixed(decimals)}`];
}

/** The same in one piece. */
export function deltaText(row: Row): string {
  return deltaParts(row).filter(Boolean).join(" ");
}
