// Plotly, once per page: the first chart gets it from its kernel, all others share it.
import type { Plain } from "../core/figure";

export type Plotly = {
  react(el: HTMLElement, data: Plain[], layout: Plain, config: Plain): Promise<unknown>;
  purge(el: HTMLElement): void;
};
type Shared = { ready: Promise<Plotly>; supply: (packed: DataView) => void; asked: number };

const PLACE = Symbol.for("darkit-nb charting library 4");
const IMPATIENT_MS = 20_000;

/** Plotly. `ask` is called where nobody has asked yet, or where no answer came: of a kernel that is gone none will. */
export function library(ask: () => void): Promise<Plotly> {
  const shared = place();
  const now = Date.now();
  if (now - shared.asked > IMPATIENT_MS) {
    shared.asked = now;
    ask();
  }
  return shared.ready;
}

/** What a kernel answered. */
export function supply(packed: DataView): void {
  place().supply(packed);
}

/** After a failure: the next one who wants it asks anew. */
export function forget(): void {
  Reflect.deleteProperty(globalThis, PLACE);
}

function place(): Shared {
  const page = globalThis as unknown as Record<symbol, Shared | undefined>;
  const before = page[PLACE];
  if (before) return before;
  let supplied: (packed: DataView) => void = () => undefined;
  const packed = new Promise<DataView>((resolve) => { supplied = resolve; });
  const made = { ready: packed.then(unpack), supply: supplied, asked: -Infinity };
  made.ready.catch(() => undefined); // whoever waits shows it
  page[PLACE] = made;
  return made;
}

async function unpack(packed: DataView): Promise<Plotly> {
  const bytes = new Uint8Array(packed.buffer as ArrayBuffer, packed.byteOffset, packed.byteLength);
  const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const source = new Blob([await new Response(plain).arrayBuffer()], { type: "text/javascript" });
  const url = URL.createObjectURL(source);
  try {
    return (await import(url)).default as Plotly;
  } finally {
    URL.revokeObjectURL(url);
  }
}
