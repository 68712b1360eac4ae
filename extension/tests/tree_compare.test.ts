import assert from "node:assert/strict";
import { test } from "node:test";
import { kept, openedFor, shown, type Wire } from "../src/core/model_tree";
import { cell, columnsOf, comparedColumns, comparison, fitting, levels, tellingQuantity, value } from "../src/core/model_tree_columns";
import { ComparedTree, type ComparisonWire, inside, nextDifference, placeOf, ratio, times, treeOf } from "../src/core/tree_compare";
import { factsOf, paired } from "../src/core/tree_facts";

const TEXTS = ["", "Net", "a", "b", "c", "Linear", "Spiking", "Norm", "linear", "spiking", ":2,8 float32", ":2,9 float32", "own"];
const at = (...words: string[]) => words.map((word) => TEXTS.indexOf(word));

function wire(names: string[], parent: number[], more: { classes: string[]; outputs: string[]; energy: number[]; spikes?: Wire["spikes"] }): Wire {
  const all = (word: string) => names.map(() => TEXTS.indexOf(word));
  return {
    model: "Net", problem: null, failed: null, texts: TEXTS, parent,
    columns: {
      name: at(...names), class_name: at(...more.classes), outputs: at(...more.outputs), energy_pj: more.energy, parameters: names.map(() => 10),
      kind: at(...more.classes.map((name) => (name === "Spiking" ? "spiking" : "linear"))), module: all("own"), inputs: all(""), file: all(""), signature: all(""), calls: names.map(() => 1),
    },
    spikes: more.spikes ?? { rows: [] },
  };
}

// Before: Net(a, a.b); after: a is spiking and has c in place of b.
const BEFORE = wire(["", "a", "b"], [-1, 0, 1], { classes: ["Net", "Linear", "Norm"], outputs: [":2,8 float32", ":2,8 float32", ":2,9 float32"], energy: [8, 8, 1] });
const AFTER = wire(["", "a", "c"], [-1, 0, 1], {
  classes: ["Net", "Spiking", "Norm"], outputs: [":2,8 float32", ":2,8 float32", ":2,8 float32"], energy: [2, 2, 0],
  spikes: { rows: [1], num_levels: [16], num_steps: [2], slots: [10], active_slots: [5] },
});
const ROWS: ComparisonWire = {
  states: ["same", "changed", "new", "gone"], before: [0, 1, 2, -1], after: [0, 1, -1, 2], parent: [-1, 0, 1, 1], state: [0, 1, 3, 2], below: [3, 2, 0, 0],
  changed: { class_name: [1], energy_pj: [0, 1] }, affected: [], notes: [],
};
const compared = () => treeOf(AFTER, { before: BEFORE, rows: ROWS }) as ComparedTree;
const NO = { search: "", spiking: false, trainable: false, differing: false };

test("the rows of both are one tree, each with its state", () => {
  const tree = compared();
  assert.ok(tree instanceof ComparedTree);
  assert.deepEqual(tree.paths, ["", "a", "a.b", "a.c"]);
  assert.deepEqual([0, 1, 2, 3].map((row) => tree.state(row)), ["same", "changed", "gone", "new"]);
  assert.deepEqual(tree.counts, { same: 1, changed: 1, affected: 0, new: 1, gone: 1 });
  assert.equal(tree.text("class_name", 2), "Norm");
  assert.deepEqual([...tree.numbers("energy_pj")], [2, 2, 1, 0]);
  assert.equal(tree.numbers("firing")[1], 0.5);
  assert.equal(tree.fires(1), true);
  assert.equal(tree.spikes(2), null);
  assert.ok(!(treeOf(AFTER, null) instanceof ComparedTree));
});

test("a quantity stands before and after, with how many times as much it is", () => {
  const tree = compared();
  const words = (row: number) => (["before", "after", "ratio"] as const).map((key) => cell(tree, key, row, "energy"));
  assert.deepEqual([0, 1, 2, 3].map(words), [["8.00 pJ", "2.00 pJ", "×0.25"], ["8.00 pJ", "2.00 pJ", "×0.25"], ["1.00 pJ", "", ""], ["", "", ""]]);
  assert.equal(cell(tree, "class", 1), "Linear → Spiking");
  assert.equal(cell(tree, "before", 1, "class"), "Linear");
  assert.equal(cell(tree, "after", 2, "outputs"), "");
  assert.equal(value(tree, "before", 3, "energy"), Number.NaN);
  assert.deepEqual([...levels(tree, "after", "energy")], [8, 8, 1]);
  assert.deepEqual(comparison(tree, { column: "ratio", down: false }, "energy") && [...shown(tree, Uint8Array.of(1, 1, 1, 1), null, comparison(tree, { column: "before", down: true }, "energy"))], [0, 1, 2, 3]);
});

test("the quantity that says most comes first, and its columns stay where there is little room", () => {
  const tree = compared();
  assert.equal(tellingQuantity(tree), "energy");
  assert.equal(tellingQuantity(treeOf(AFTER, { before: BEFORE, rows: { ...ROWS, changed: { outputs: [2] } } }) as ComparedTree), "outputs");
  assert.equal(tellingQuantity(treeOf(AFTER, { before: BEFORE, rows: { ...ROWS, changed: {} } }) as ComparedTree), "parameters");
  const columns = [...comparedColumns("energy"), ...columnsOf(tree).filter(({ key }) => key !== "energy")];
  assert.deepEqual(fitting(columns, 450).map(({ key }) => key), ["after", "ratio"]);
  assert.deepEqual(fitting(columns, 600).map(({ key }) => key), ["before", "after", "ratio"]);
  assert.deepEqual(comparedColumns("class").map(({ key }) => key), ["before", "after"]);
});

test("only differences are kept, searched on both sides, and visited one after the other", () => {
  const tree = compared();
  const marks = kept(tree, { ...NO, differing: true }) as Uint8Array;
  assert.deepEqual([...marks], [1, 2, 2, 2]);
  assert.deepEqual([...shown(tree, openedFor(tree, marks), marks, null)], [0, 1, 2, 3]);
  const find = (search: string) => [...kept(tree, { ...NO, search }) as Uint8Array].flatMap((mark, row) => (mark === 2 ? [row] : []));
  assert.deepEqual(find("linear"), [1]);
  assert.deepEqual(find("spiking"), [1]);
  assert.deepEqual(find("2x9"), [2]);
  assert.deepEqual([nextDifference(tree, -1, 1), nextDifference(tree, 3, 1), nextDifference(tree, 1, -1), nextDifference(tree, 2, -1)], [1, 1, 3, 1]);
  assert.deepEqual([0, 1, 3].map((row) => placeOf(tree, row)), [0, 1, 3]);
  const same = treeOf(AFTER, { before: AFTER, rows: { ...ROWS, before: [0, 1, 2], after: [0, 1, 2], parent: [-1, 0, 1], state: [0, 0, 0], changed: {} } }) as ComparedTree;
  assert.equal(nextDifference(same, 0, 1), -1);
});

test("what only fires differently is told apart from what was edited, and is a difference all the same", () => {
  const rows = { ...ROWS, state: [1, 1, 3, 2], changed: { class_name: [1], energy_pj: [0, 1], firing_rate: [0] }, affected: [0] };
  const tree = treeOf(AFTER, { before: BEFORE, rows }) as ComparedTree;
  assert.deepEqual([0, 1, 2, 3].map((row) => tree.state(row)), ["affected", "changed", "gone", "new"]);
  assert.deepEqual(tree.counts, { same: 0, changed: 1, affected: 1, new: 1, gone: 1 });
  assert.deepEqual([...kept(tree, { ...NO, differing: true }) as Uint8Array], [2, 2, 2, 2]);
  assert.deepEqual([nextDifference(tree, -1, 1), placeOf(tree, 1)], [0, 2]);
  assert.deepEqual([inside(1), inside(12)], ["one difference in it", "12 differences in it"]);
});

test("ratios say by how much, and nothing where nothing was", () => {
  assert.deepEqual([ratio(4, 1), ratio(0, 3), ratio(Number.NaN, 1), ratio(3, 0)], [0.25, Number.NaN, Number.NaN, 0]);
  assert.deepEqual([0.25, 1, 12.34, 345.6, 0.012, 0.00004, 1.0001, 0, Number.NaN].map(times), ["×0.25", "=", "×12.3", "×346", "×0.012", "×4.0e-5", "×1.000", "×0", ""]);
});

test("facts of two sides meet under their names, in the order of both", () => {
  const [was, is] = [[{ name: "class", text: "A" }, { name: "gone", text: "x" }, { name: "last", text: "y" }], [{ name: "class", text: "B" }, { name: "new", text: "z" }, { name: "last", text: "y" }]];
  assert.deepEqual(paired(was, is).map(({ name, before, after }) => [name, before?.text, after?.text]), [["class", "A", "B"], ["gone", "x", undefined], ["new", undefined, "z"], ["last", "y", "y"]]);
  const tree = treeOf(AFTER, null);
  assert.deepEqual(factsOf(tree, 1).map(({ name }) => name), ["class", "calls", "output", "parameters", "energy", "fires"]);
  assert.match(factsOf(tree, 1, 30).find(({ name }) => name === "fires")?.text ?? "", /50\.00 % .*at step 30/);
});

test("a run's rates take the place of the traced ones, weighed by slots", () => {
  const tree = treeOf(AFTER, null);
  tree.fireAt(Float32Array.of(0.25));
  assert.deepEqual([...tree.numbers("firing")].slice(0, 2), [0.25, 0.25]);
  tree.fireAt(Float32Array.of(Number.NaN));
  assert.ok(Number.isNaN(tree.numbers("firing")[1]));
  tree.fireAt(null);
  assert.equal(tree.numbers("firing")[1], 0.5);
});
