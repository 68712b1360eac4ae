// What a page knows of a figure: told whole, then in parts. Nothing here draws.

export type Plain = Record<string, unknown>;
type Packed = { buffer: number; dtype: string; shape: number[] };
export type Draw = {
  number: number;
  whole: boolean;
  arrays: [number, Plain][];
  traces?: Plain[];
  layout?: Plain;
  reach?: Plain;
};
export type Figure = { number: number; traces: Plain[]; layout: Plain; arrays: Plain[] };

const KINDS: Record<string, new (bytes: ArrayBuffer) => ArrayLike<number> & { subarray(a: number, b: number): unknown }> = {
  int32: Int32Array,
  float32: Float32Array,
  float64: Float64Array,
};

/** The figure after a message; null where one before it was missed and everything has to be asked for. */
export function drawn(figure: Figure | null, told: Draw, buffers: DataView[]): Figure | null {
  if (!told.whole && (!figure || told.number !== figure.number + 1)) return null;
  const base: Figure = told.whole || !figure ? { number: 0, traces: [], layout: {}, arrays: [] } : figure;
  const traces = told.traces ?? base.traces;
  const arrays = traces.map((_, index) => base.arrays[index] ?? {});
  for (const [index, values] of told.arrays) {
    const read = Object.entries(values).map(([name, value]) => [name, unpacked(value, buffers)]);
    arrays[index] = { ...arrays[index], ...Object.fromEntries(read) };
  }
  const layout = told.layout ?? base.layout;
  return { number: told.number, traces, arrays, layout: told.reach ? reaching(layout, told.reach) : layout };
}

/** The layout with other limits of all axes of steps. */
export function reaching(layout: Plain, reach: Plain): Plain {
  const axes = Object.entries(layout).filter(([name]) => /^xaxis\d*$/.test(name));
  const limits = ({ range: _, autorange: __, ...rest }: Plain) => ({ ...rest, ...reach });
  return { ...layout, ...Object.fromEntries(axes.map(([name, axis]) => [name, limits(axis as Plain)])) };
}

/** Traces and layout for Plotly, which writes into what it gets. */
export function forPlotly(figure: Figure): { data: Plain[]; layout: Plain } {
  return {
    data: figure.traces.map((trace, index) => ({ ...trace, ...figure.arrays[index] })),
    layout: structuredClone(figure.layout),
  };
}

/** First and last step that somebody dragged over, "all" after a double click, null where it was something else. */
export function zoomOf(change: Plain): [number, number] | "all" | null {
  const axis = Object.keys(change).find((name) => /^xaxis\d*\.range/.test(name))?.split(".")[0];
  if (axis) {
    const both = change[`${axis}.range`] as unknown[] | undefined;
    const [low, high] = both ?? [change[`${axis}.range[0]`], change[`${axis}.range[1]`]];
    return [Number(low), Number(high)];
  }
  return Object.keys(change).some((name) => /^xaxis\d*\.autorange$/.test(name)) ? "all" : null;
}

function unpacked(value: unknown, buffers: DataView[]): unknown {
  const packed = value as Packed | null;
  const Kind = packed && typeof packed === "object" && "buffer" in packed ? KINDS[packed.dtype] : undefined;
  if (!packed || !Kind) return value;
  const bytes = buffers[packed.buffer];
  if (!bytes) throw new Error("a message came without its numbers");
  // A copy: bytes may lie anywhere in a message, numbers may not.
  const numbers = new Kind(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) as ArrayBuffer);
  const [rows, columns] = packed.shape;
  if (columns === undefined) return numbers;
  return Array.from({ length: rows ?? 0 }, (_, row) => numbers.subarray(row * columns, (row + 1) * columns));
}
