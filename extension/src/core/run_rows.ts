// Rows of runs: merged as they change, sorted, searched, selected, compared.

export type Row = {
  id: string;
  name: string;
  state: string;
  reason: string | null;
  step: number | null;
  total_steps: number | null;
  loss: number | null;
  bits_per_byte: number | null;
  firing_rate: number | null;
  energy_pj: number | null;
  tokens_per_s: number | null;
  started: number | null;
  ended: number | null;
  eta_s: number | null;
  orphan_pid: number | null;
};
export type Column = "state" | "name" | "progress" | "loss" | "bits_per_byte" | "firing_rate" | "energy_pj" | "tokens_per_s" | "started" | "duration";
export type Order = { column: Column; down: boolean };
export type Change = { version: number; changed: Row[]; removed: string[] };
export type Table = { version: number; rows: ReadonlyMap<string, Row> };

/** What is going on comes first, then what needs a look, then what is over. */
const STATES = ["running", "starting", "queued", "lost", "failed", "damaged", "stopped", "created", "finished"];
export const ACTIVE = new Set(["running", "starting", "queued"]);

/** The table after a change; null where a change is missing in between and the whole has to be asked for. */
export function merged(table: Table, change: Change): Table | null {
  if (change.version <= table.version) return table;
  if (change.version > table.version + 1) return null;
  const rows = new Map(table.rows);
  change.removed.forEach((id) => rows.delete(id));
  change.changed.forEach((row) => rows.set(row.id, row));
  return { version: change.version, rows };
}

/** Seconds from start to end, or to now while it is at work. */
export function duration(row: Row, now: number): number | null {
  if (row.started === null) return null;
  if (row.ended !== null) return Math.max(0, row.ended - row.started);
  return ACTIVE.has(row.state) ? Math.max(0, now - row.started) : null;
}

/** When a run was made, from its id `YYYYMMDD-HHMMSS-…` in UTC. */
export function born(id: string): number | null {
  const found = /^(\d{4})(\d\d)(\d\d)-(\d\d)(\d\d)(\d\d)-/.exec(id);
  if (!found) return null;
  const [year = 0, month = 1, ...rest] = found.slice(1).map(Number);
  return Date.UTC(year, month - 1, ...(rest as [number, number, number, number])) / 1000;
}

/** The order shown while somebody points at the rows: as it was, new ones on top, so that nothing moves under the pointer. */
export function steady(before: readonly string[], wanted: readonly string[]): string[] {
  const there = new Set(wanted);
  const known = new Set(before);
  return [...wanted.filter((id) => !known.has(id)), ...before.filter((id) => there.has(id))];
}

function value(row: Row, column: Column, now: number): number | string | null {
  switch (column) {
    case "state": return STATES.indexOf(row.state) < 0 ? STATES.length : STATES.indexOf(row.state);
    case "name": return row.name.toLowerCase();
    case "progress": return row.total_steps ? (row.step ?? 0) / row.total_steps : null;
    case "duration": return duration(row, now);
    case "started": return row.started ?? born(row.id);
    default: return row[column];
  }
}

/** Sorted by a column; what has no value comes last either way, and equals stay newest first. */
export function sorted(rows: Iterable<Row>, order: Order, now: number): Row[] {
  const keyed = [...rows].map((row) => ({ row, key: value(row, order.column, now) }));
  keyed.sort((a, b) => {
    const none = Number(a.key === null || Number.isNaN(a.key)) - Number(b.key === null || Number.isNaN(b.key));
    if (none) return none;
    const way = order.down ? -1 : 1;
    if (a.key !== b.key && a.key !== null && b.key !== null) return (a.key < b.key ? -1 : 1) * way;
    return a.row.id < b.row.id ? 1 : -1;
  });
  return keyed.map(({ row }) => row);
}

/** Rows that hold every word of the search in id, name or reason, in a state that is wanted ("" wants all). */
export function filtered(rows: Iterable<Row>, search: string, state: string): Row[] {
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  return [...rows].filter((row) => {
    if (state && !(state === "at work" ? ACTIVE.has(row.state) : row.state === state)) return false;
    const text = `${row.id} ${row.name} ${row.state} ${row.reason ?? ""}`.toLowerCase();
    return words.every((word) => text.includes(word));
  });
}

/** How many runs there are of each state, in the order states are shown. */
export function counts(rows: Iterable<Row>): [string, number][] {
  const found = new Map<string, number>();
  for (const row of rows) found.set(row.state, (found.get(row.state) ?? 0) + 1);
  return [...found].sort(([a], [b]) => rank(a) - rank(b));
}

const rank = (state: string) => (STATES.indexOf(state) < 0 ? STATES.length : STATES.indexOf(state));

/** Which rows to draw: [first, end) of `count` rows of equal height, with some to spare on both sides of what is seen. */
export function windowed(count: number, top: number, height: number, rowHeight: number): [number, number] {
  const spare = 12;
  const first = Math.max(0, Math.min(Math.floor(top / rowHeight), count - 1) - spare);
  return [first, Math.min(count, first + Math.ceil(height / rowHeight) + 2 * spare)];
}

/** The selection after a click on `id`: alone, toggled (Ctrl), or everything from `anchor` on (Shift). */
export function selection(before: readonly string[], shown: readonly string[], id: string, anchor: string | null, how: "toggle" | "range"): string[] {
  const from = how === "range" && anchor !== null ? shown.indexOf(anchor) : -1;
  if (from < 0) return before.includes(id) ? before.filter((each) => each !== id) : [...before, id];
  const to = shown.indexOf(id);
  const range = shown.slice(Math.min(from, to), Math.max(from, to) + 1);
  return [...before.filter((each) => !range.includes(each)), ...range];
}
