import assert from "node:assert/strict";
import { test } from "node:test";
import { born, counts, duration, filtered, merged, type Row, selection, sorted, steady, type Table, windowed } from "../src/core/run_rows";

function row(id: string, more: Partial<Row> = {}): Row {
  return {
    id, name: id, state: "finished", reason: null, step: 1, total_steps: 2, loss: null, bits_per_byte: null, firing_rate: null,
    energy_pj: null, tokens_per_s: null, started: null, ended: null, eta_s: null, orphan_pid: null, ...more,
  };
}

const ids = (rows: Row[]) => rows.map(({ id }) => id).join("");

test("changes are merged in order; a gap asks for the whole", () => {
  const table: Table = { version: 3, rows: new Map([["a", row("a")], ["b", row("b")]]) };
  const next = merged(table, { version: 4, changed: [row("b", { loss: 1 }), row("c")], removed: ["a"] });
  assert.deepEqual([...(next?.rows.keys() ?? [])], ["b", "c"]);
  assert.equal(next?.rows.get("b")?.loss, 1);
  assert.equal(table.rows.size, 2);
  assert.equal(merged(table, { version: 3, changed: [], removed: ["a"] }), table);
  assert.equal(merged(table, { version: 5, changed: [], removed: [] }), null);
});

test("sorting puts what has no value last both ways, and equals newest first", () => {
  const rows = [row("a", { loss: 2 }), row("b"), row("c", { loss: 1 }), row("d", { loss: 2 }), row("e", { loss: Number.NaN })];
  assert.equal(ids(sorted(rows, { column: "loss", down: false }, 0)), "cdaeb");
  assert.equal(ids(sorted(rows, { column: "loss", down: true }, 0)), "daceb");
});

test("states sort by what needs attention, durations by the clock", () => {
  const rows = [row("a"), row("b", { state: "running", started: 10 }), row("c", { state: "failed", started: 0, ended: 50 })];
  assert.equal(ids(sorted(rows, { column: "state", down: false }, 100)), "bca");
  assert.equal(ids(sorted(rows, { column: "duration", down: true }, 100)), "bca");
  assert.equal(duration(rows[1] as Row, 100), 90);
  assert.equal(duration(row("x", { state: "lost", started: 10 }), 100), null);
});

test("every word of the search has to be there, and the state", () => {
  const rows = [row("a", { name: "first try" }), row("b", { state: "lost", reason: "its process 12 is gone" }), row("c", { state: "queued" })];
  assert.equal(ids(filtered(rows, " TRY first ", "")), "a");
  assert.equal(ids(filtered(rows, "gone", "")), "b");
  assert.equal(ids(filtered(rows, "", "at work")), "c");
  assert.equal(ids(filtered(rows, "", "lost")), "b");
  assert.deepEqual(counts(rows), [["queued", 1], ["lost", 1], ["finished", 1]]);
});

test("selecting toggles one, or takes a range in the order shown", () => {
  const shown = ["a", "b", "c", "d"];
  assert.deepEqual(selection([], shown, "b", null, "toggle"), ["b"]);
  assert.deepEqual(selection(["b"], shown, "b", "b", "toggle"), []);
  assert.deepEqual(selection(["b"], shown, "d", "b", "range"), ["b", "c", "d"]);
  assert.deepEqual(selection(["d"], shown, "a", "c", "range"), ["d", "a", "b", "c"]);
  assert.deepEqual(selection(["a"], shown, "d", "gone", "range"), ["a", "d"]);
});

test("while somebody points at the rows, known ones stay where they are", () => {
  assert.deepEqual(steady(["a", "b", "c"], ["c", "new", "a"]), ["new", "a", "c"]);
  assert.deepEqual(steady([], ["b", "a"]), ["b", "a"]);
});

test("a run that never started sorts by the time in its id", () => {
  assert.equal(born("20261122-072348-first-try-6575"), Date.UTC(2026, 10, 22, 7, 23, 48) / 1000);
  assert.equal(born("imported"), null);
  const rows = [row("20260101-000000-a-0000", { started: 2e9 }), row("20261122-072348-b-0000"), row("20251122-072348-c-0000")];
  assert.deepEqual(sorted(rows, { column: "started", down: true }, 0).map(({ id }) => id.slice(16, 17)), ["a", "b", "c"]);
});

test("of many rows only those in sight and some around them are drawn", () => {
  assert.deepEqual(windowed(500, 0, 420, 30), [0, 38]);
  assert.deepEqual(windowed(500, 3000, 420, 30), [88, 126]);
  assert.deepEqual(windowed(500, 99_999, 420, 30), [487, 500]);
  assert.deepEqual(windowed(3, 0, 420, 30), [0, 3]);
  assert.deepEqual(windowed(0, 0, 420, 30), [0, 0]);
});
