// A conversion without a page: scales and ticks of its charts, the cells of its heat map, the points that nothing beats.

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
  id: string; name: string; source: string; state: string; float: boolean; preset: string;
  perplexity: number | null; bits_per_byte: number | null; delta: number | null; low: number | null; high: number | null;
  mean_steps: number | null; code_bits: number | null; storage_bits: number | null; weight_bytes: number | null;
  ace: number | null; energy_pj: number | null; seconds: number | null; peak_bytes: number | null;
};

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
  return { of: (value) => from + ((value - low) / (high - low)) * (to - from), ticks: niceTicks(low, high) };
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

/** Share of the colour scale, by the logarithm where values span more than a factor of ten. */
export function heatShare(value: number, values: readonly number[]): number {
  const found = values.filter(Number.isFinite);
  const low = Math.min(...found), high = Math.max(...found);
  if (!(high > low)) return 0.5;
  if (low > 0 && high / low > 10) return Math.log(value / low) / Math.log(high / low);
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

/** Where the names of points stand so that they cover neither one another nor a point nor others; some find no room. */
export function placeLabels(
  points: readonly { id: string; x: number; y: number; width: number }[],
  box: { left: number; right: number; top: number; bottom: number },
  others: readonly [number, number, number, number][] = [],
): Label[] {
  const height = 14, gap = 9;
  const taken: [number, number, number, number][] = points.map(({ x, y }) => [x - 6, y - 6, x + 6, y + 6]);
  taken.push(...others);
  const placed: Label[] = [];
  for (const { id, x, y, width } of points) {
    const options: [number, number, "start" | "end"][] = [
      [x + gap, y + 4, "start"], [x - gap, y + 4, "end"], [x + 4, y - 9, "start"], [x + 4, y + 17, "start"],
      [x - 4, y - 9, "end"], [x - 4, y + 17, "end"],
    ];
    const fit = options.find(([at, base, anchor]) => {
      const left = anchor === "start" ? at : at - width;
      const [right, top, bottom] = [left + width, base - height + 3, base + 3];
      if (left < box.left || right > box.right || top < box.top || bottom > box.bottom) return false;
      return taken.every(([l, t, r, b], i) => points[i]?.id === id || right <= l || left >= r || bottom <= t || top >= b);
    });
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

/** A difference with its sign and its 95 % interval. */
export function deltaText(row: Row): string {
  if (row.delta === null) return "–";
  const sign = (value: number) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(3)}`;
  if (row.low === null || row.high === null) return sign(row.delta);
  return `${sign(row.delta)} ± ${((row.high - row.low) / 2).toFixed(3)}`;
}
