// Spikes of one layer as they come from Python, and what can be read from them. The law of the planes is that of
// `SpikeCode.planes` in Python: rate and paper codes fill one step after the other, radix codes are digits.

/** The `picture` trait of SpikeRaster; bytes arrive as DataViews. */
export type PictureTrait = {
  name: string;
  tokens: number;
  features: number;
  heads: number;
  steps: number;
  levels: number;
  cap: number;
  coding: "rate" | "radix" | "paper";
  signed: boolean;
  rate: number;
  dtype: "uint8" | "int8" | "int16" | "int32";
  counts: DataView;
  membrane: DataView;
  scale: DataView;
  zero: DataView;
  salient: DataView;
};

type Integers = Uint8Array | Int8Array | Int16Array | Int32Array;

export class SpikePicture {
  readonly counts: Integers;
  readonly salient: Uint8Array;
  private readonly half: Uint16Array;
  private readonly scale: Float32Array;
  private readonly zero: Int32Array;

  constructor(readonly facts: PictureTrait) {
    const kinds = { uint8: Uint8Array, int8: Int8Array, int16: Int16Array, int32: Int32Array };
    this.counts = new kinds[facts.dtype](own(facts.counts));
    this.half = new Uint16Array(own(facts.membrane));
    this.scale = new Float32Array(own(facts.scale));
    this.zero = new Int32Array(own(facts.zero));
    this.salient = new Uint8Array(own(facts.salient));
  }

  /** Pictures to draw: all spikes first (step −1), then step by step where there are several. */
  get panels(): number[] {
    const { steps } = this.facts;
    return steps === 1 ? [-1] : [-1, ...Array.from({ length: steps }, (_, step) => step)];
  }

  /** The largest level a panel can show. */
  top(step: number): number {
    return step < 0 ? this.facts.cap : this.facts.levels - 1;
  }

  count(token: number, feature: number): number {
    return this.counts[token * this.facts.features + feature] ?? 0;
  }

  isSalient(feature: number): boolean {
    return this.salient[feature] === 1;
  }

  /** The level sent in a step; all spikes together for step −1. */
  level(count: number, step: number): number {
    if (step < 0) return count;
    const { levels, steps, coding } = this.facts;
    const size = Math.abs(count);
    const sent =
      coding === "radix"
        ? Math.floor(size / levels ** (steps - 1 - step)) % levels
        : Math.min(levels - 1, Math.max(0, size - step * (levels - 1)));
    return count < 0 && sent ? -sent : sent; // never −0
  }

  /** Input of the neuron in units of its threshold, zero point included: rounded, this is the count. */
  charge(token: number, feature: number): number {
    const { features, heads } = this.facts;
    const groups = this.salient.length ? 2 : 1;
    const head = Math.floor((feature * heads) / features);
    const place = (token * heads + head) * groups + (groups === 2 && this.isSalient(feature) ? 1 : 0);
    const input = fromHalf(this.half[token * features + feature] ?? 0);
    return input / (this.scale[place] ?? 1) + (this.zero[place] ?? 0);
  }

  /** Features with their salient ones first, or in their own order. */
  order(salientFirst: boolean): Uint32Array {
    const all = Uint32Array.from({ length: this.facts.features }, (_, feature) => feature);
    if (!salientFirst || !this.salient.length) return all;
    return all.sort((a, b) => (this.salient[b] ?? 0) - (this.salient[a] ?? 0) || a - b);
  }

  /** How many features sent each count for a token, at most `bins` bins; for all tokens on average without one. */
  histogram(token: number | null, bins = 64): { first: number; width: number; shares: number[] } {
    const { cap, signed, features, tokens } = this.facts;
    const first = signed ? -cap : 0;
    let width = 1;
    while ((cap - first + 1) / width > bins) width *= 2;
    const shares = new Array<number>(Math.ceil((cap - first + 1) / width)).fill(0);
    const [start, end] = token === null ? [0, tokens * features] : [token * features, (token + 1) * features];
    for (let index = start; index < end; index++) {
      const bin = Math.floor(((this.counts[index] as number) - first) / width);
      shares[bin] = (shares[bin] ?? 0) + 1 / (end - start);
    }
    return { first, width, shares };
  }

  /** What a token sent: its spikes, its silent features, and the share of its slots that hold a spike. */
  summary(token: number): { spikes: number; silent: number; rate: number } {
    const { features, steps } = this.facts;
    let spikes = 0, silent = 0, active = 0, slots = 0;
    for (let feature = 0; feature < features; feature++) {
      const count = this.count(token, feature);
      slots += this.isSalient(feature) ? steps : 1;
      if (count === 0) silent++;
      for (let step = 0; step < steps; step++) {
        const level = Math.abs(this.level(count, step));
        spikes += level;
        if (level) active++;
      }
    }
    return { spikes, silent, rate: active / slots };
  }

  /**
   * A part of a panel as levels, `rows × columns`, each cell the largest magnitude of the features and tokens it holds.
   * Nothing is skipped: a lone spike among thousands of features stays visible.
   */
  pool(step: number, order: Uint32Array, view: View, rows: number, columns: number): Int32Array {
    const out = new Int32Array(rows * columns);
    const { features } = this.facts;
    const high = view.features[1] - view.features[0], wide = view.tokens[1] - view.tokens[0];
    const column = new Int32Array(wide);
    for (let token = 0; token < wide; token++) column[token] = Math.floor((token * columns) / wide);
    for (let place = 0; place < high; place++) {
      const row = Math.floor((place * rows) / high) * columns;
      const feature = order[view.features[0] + place] as number;
      for (let token = 0; token < wide; token++) {
        const count = this.counts[(view.tokens[0] + token) * features + feature] as number;
        if (count === 0) continue;
        const level = step < 0 ? count : this.level(count, step);
        const cell = row + (column[token] as number);
        if (Math.abs(level) > Math.abs(out[cell] as number)) out[cell] = level;
      }
    }
    return out;
  }
}

/** The part of a raster that is shown, whole tokens and features: [from, to). */
export type View = { tokens: [number, number]; features: [number, number] };

/** `view` magnified by `factor` around a place given as shares of it; never beyond the picture, never below `least`. */
export function zoomed(view: View, factor: number, at: { x: number; y: number }, whole: View, least: { tokens: number; features: number }): View {
  return {
    tokens: zoomedSpan(view.tokens, factor, at.x, whole.tokens[1], least.tokens),
    features: zoomedSpan(view.features, factor, at.y, whole.features[1], least.features),
  };
}

function zoomedSpan([from, to]: [number, number], factor: number, at: number, end: number, least: number): [number, number] {
  const size = to - from;
  let next = Math.round(size / factor);
  if (next === size) next += factor > 1 ? -1 : 1;
  next = Math.min(end, Math.max(Math.min(least, end), next));
  const start = Math.round(from + at * (size - next));
  const first = Math.min(end - next, Math.max(0, start));
  return [first, first + next];
}

/** `view` moved by whole tokens and features, kept inside the picture. */
export function moved(view: View, tokens: number, features: number, whole: View): View {
  const span = ([from, to]: [number, number], by: number, end: number): [number, number] => {
    const first = Math.min(end - (to - from), Math.max(0, from + by));
    return [first, first + (to - from)];
  };
  return { tokens: span(view.tokens, tokens, whole.tokens[1]), features: span(view.features, features, whole.features[1]) };
}

/** `view` moved just so far that the cell at (token, row) is inside. */
export function showing(view: View, token: number, row: number, whole: View): View {
  const off = ([from, to]: [number, number], place: number) => (place < from ? place - from : place >= to ? place - to + 1 : 0);
  return moved(view, off(view.tokens, token), off(view.features, row), whole);
}

/** Value of an IEEE half-precision number. */
export function fromHalf(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31, fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** Bytes as a buffer of their own, wherever the message had them. */
function own(view: DataView): ArrayBuffer {
  return view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength) as ArrayBuffer;
}
