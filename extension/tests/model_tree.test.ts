import assert from "node:assert/strict";
import { test } from "node:test";
import { children, type Filter, fittingDepth, kept, openedFor, openedTo, reveal, seats, shown, tensors, Tree, type Wire, wordsOf } from "../src/core/model_tree";
import { calls, cell, columnsOf, comparison, fitting, levels, NAME, nextOrder, value } from "../src/core/model_tree_columns";
import { moved } from "../src/tree/keys";

// Net: a ModuleList of two blocks, each with a spiking layer `up` and a norm; a head that failed.
const TEXTS = ["", "layers", "0", "1", "up", "norm", "head", "Net", "ModuleList", "Block", "SpikeLinear", "Norm", "x:2,8,64 float32\nmask:2,8 bool", ":2,8,16 float32", "own", "model", "container", "block", "spiking", "linear"];
const at = (...words: string[]) => words.map((word) => TEXTS.indexOf(word));

function wire(): Wire {
  const names = at("", "layers", "0", "up", "norm", "1", "up", "norm", "head");
  return {
    model: "Net", problem: "ValueError: no", failed: "head", texts: TEXTS,
    parent: [-1, 0, 1, 2, 2, 1, 5, 5, 0],
    columns: {
      name: names,
      class_name: at("Net", "ModuleList", "Block", "SpikeLinear", "Norm", "Block", "SpikeLinear", "Norm", "SpikeLinear"),
      module: names.map(() => 14), file: names.map(() => 0), signature: names.map(() => 0),
      kind: at("model", "container", "block", "spiking", "block", "block", "spiking", "block", "linear"),
      inputs: names.map((_, row) => (row === 1 ? 0 : 12)),
      outputs: names.map((_, row) => (row === 1 ? 0 : 13)),
      calls: [1, 0, 1, 4, 1, 1, 4, 1, 1],
      calls_per_parent: { rows: [3, 6], values: [4, 4] },
      parameters: [100, 70, 30, 20, 10, 40, 30, 10, 30],
      own_parameters: [0, 0, 0, 20, 10, 0, 30, 10, 30],
      trainable: { rows: [0, 1, 2, 4], values: [10, 10, 10, 10] },
      flops: [201, 140, 60, 60, 0, 80, 80, 0, 61],
      energy_pj: { rows: [0, 3, 6], values: [9, 2, 3] },
      problem: { rows: [8], values: ["ValueError: no"] },
    },
    spikes: { rows: [3, 6], num_levels: [16, 16], num_steps: [2, 2], slots: [10, 30], active_slots: [5, 3], histogram: [[5, 5], [27, 3]] },
  };
}

const ALL: Filter = { search: "", spiking: false, trainable: false, differing: false };
const find = (tree: Tree, more: Partial<Filter>) => {
  const marks = kept(tree, { ...ALL, ...more });
  return marks && [...marks].flatMap((mark, row) => (mark === 2 ? [row] : []));
};

test("columns become paths, ends, depths, and quantities with what is not known as NaN", () => {
  const tree = new Tree(wire());
  assert.deepEqual(tree.paths, ["", "layers", "layers.0", "layers.0.up", "layers.0.norm", "layers.1", "layers.1.up", "layers.1.norm", "head"]);
  assert.deepEqual([...tree.end], [9, 8, 5, 4, 5, 8, 7, 8, 9]);
  assert.deepEqual([...tree.depth], [0, 1, 2, 3, 3, 2, 3, 3, 1]);
  assert.equal(tree.names[0], "Net");
  assert.equal(tree.row("layers.1.up"), 6);
  assert.equal(tree.row("layers.9"), -1);
  assert.deepEqual([...tree.numbers("macs")].slice(0, 3), [100, 70, 30]);
  assert.ok(Number.isNaN(tree.numbers("energy_pj")[1]));
  assert.equal(tree.numbers("tied")[4], 0);
  assert.equal(tree.other("problem", 8), "ValueError: no");
  assert.equal(tree.other("problem", 3), null);
  assert.equal(tree.other("aliases", 3), null);
  assert.deepEqual(tree.spikes(6)?.histogram, [27, 3]);
  assert.equal(tree.spikes(5), null);
});

test("the firing rate of a module is that of all slots in it", () => {
  const firing = new Tree(wire()).numbers("firing");
  assert.deepEqual([firing[0], firing[2], firing[3], firing[6]], [8 / 40, 0.5, 0.5, 0.1]);
  assert.ok(Number.isNaN(firing[4]));
});

test("a search finds names, classes and shapes, and dotted names; all words have to be there", () => {
  const tree = new Tree(wire());
  assert.deepEqual(find(tree, { search: "UP" }), [3, 6]);
  assert.deepEqual(find(tree, { search: "spikelinear up" }), [3, 6]);
  assert.deepEqual(find(tree, { search: "layers.1" }), [5, 6, 7]);
  for (const shape of ["(2, 8, 16)", "2x8x16", "8*16", "2,8,16"]) assert.equal(find(tree, { search: shape })?.length, 8, shape);
  assert.deepEqual(find(tree, { search: "8,99" }), []);
  assert.equal(kept(tree, ALL), null);
  assert.deepEqual(wordsOf("Up  [2, 8]"), ["up", "2×8"]);
});

test("filters keep what fires or is trained, and the rows around it", () => {
  const tree = new Tree(wire());
  assert.deepEqual(find(tree, { spiking: true }), [3, 6]);
  assert.deepEqual(find(tree, { trainable: true }), [4]);
  assert.deepEqual(find(tree, { trainable: true, spiking: true }), []);
  const marks = kept(tree, { ...ALL, search: "layers.1.up" }) as Uint8Array;
  const open = openedFor(tree, marks);
  assert.deepEqual([...shown(tree, open, marks, null)], [0, 1, 5, 6]);
  open[5] = 0;
  assert.deepEqual([...shown(tree, open, marks, null)], [0, 1, 5]);
});

test("rows open to a depth, to what fits, and to one row", () => {
  const tree = new Tree(wire());
  assert.deepEqual([...shown(tree, openedTo(tree, 0), null, null)], [0]);
  assert.deepEqual([...shown(tree, openedTo(tree, 2), null, null)], [0, 1, 2, 5, 8]);
  assert.equal(shown(tree, openedTo(tree, 9), null, null).length, 9);
  assert.deepEqual([fittingDepth(tree, 9), fittingDepth(tree, 8), fittingDepth(tree, 3), fittingDepth(tree, 1)], [3, 2, 1, 1]);
  const open = openedTo(tree, 0);
  reveal(tree, open, 7);
  assert.deepEqual([...shown(tree, open, null, null)], [0, 1, 2, 5, 6, 7, 8]);
  reveal(tree, open, -1);
  assert.deepEqual(children(tree, 1), [2, 5]);
});

test("sorting orders siblings; what has no value comes last both ways", () => {
  const tree = new Tree(wire());
  const open = openedTo(tree, 9);
  const order = (column: "parameters" | "energy" | "name" | "class", down: boolean) => [...shown(tree, open, null, comparison(tree, { column, down }))].join("");
  assert.equal(order("parameters", true), "015672348");
  assert.equal(order("parameters", false), "081243576");
  assert.equal(order("energy", true), "012345678");
  assert.equal(order("energy", false), "012345678");
  assert.equal(order("name", false), "081243576");
  assert.equal(comparison(tree, null), null);
  const [parameters] = columnsOf(tree).filter(({ key }) => key === "parameters");
  assert.deepEqual(nextOrder(null, parameters as never), { column: "parameters", down: true });
  assert.deepEqual(nextOrder({ column: "parameters", down: true }, parameters as never), { column: "parameters", down: false });
  assert.equal(nextOrder({ column: "parameters", down: false }, parameters as never), null);
  assert.deepEqual(nextOrder(null, NAME), { column: "name", down: false });
});

test("cells say what is known, and bars compare the rows of a level", () => {
  const tree = new Tree(wire());
  const words = (row: number) => (["name", "class", "inputs", "outputs", "calls", "parameters", "macs", "code", "firing", "energy", "seconds"] as const).map((key) => cell(tree, key, row));
  assert.deepEqual(words(3), ["up", "SpikeLinear", "2×8×64 …", "2×8×16", "×4", "20", "30", "Q16 S2", "50 %", "2.00 pJ", ""]);
  assert.deepEqual(words(1), ["layers", "ModuleList", "", "", "", "70", "70", "", "20 %", "", ""]);
  assert.deepEqual([...levels(tree, "parameters")], [100, 70, 40, 30]);
  assert.deepEqual([...levels(tree, "firing")], [1, 1, 1, 1]);
  assert.equal(value(tree, "outputs", 3), Number.NaN);
  assert.equal(calls(tree, 2), 1);
});

test("columns without anything to say are absent, and the least important ones give way", () => {
  const tree = new Tree(wire());
  const keys = (width: number) => fitting(columnsOf(tree), width).map(({ key }) => key);
  assert.deepEqual(keys(2000), ["class", "inputs", "outputs", "calls", "parameters", "macs", "code", "firing", "energy"]);
  assert.deepEqual(keys(600), ["parameters", "macs", "firing", "energy"]);
  assert.deepEqual(keys(100), ["energy"]);
  const plain = wire();
  plain.spikes = { rows: [] };
  delete plain.columns["energy_pj"];
  assert.deepEqual(fitting(columnsOf(new Tree(plain)), 2000).map(({ key }) => key), ["class", "inputs", "outputs", "calls", "parameters", "macs"]);
});

test("keys move as in a treegrid: into, out of, to the ends, and open all siblings", () => {
  const tree = new Tree(wire());
  const open = openedTo(tree, 1);
  const press = (key: string, here: number) => moved(key, { tree, open, marks: null, rows: shown(tree, open, null, null), here, page: 2 });
  assert.equal(press("ArrowDown", 1), 8);
  assert.equal(press("ArrowUp", 0), 0);
  assert.equal(press("End", 0), 8);
  assert.equal(press("ArrowRight", 8), 8);
  assert.equal(press("ArrowRight", 1), 1);
  assert.equal(press("ArrowRight", 1), 2);
  assert.equal(press("*", 2), 2);
  assert.equal(shown(tree, open, null, null).length, 9);
  assert.equal(press("PageUp", 8), 6);
  assert.equal(press("ArrowLeft", 7), 5);
  assert.equal(press("ArrowLeft", 5), 5);
  assert.equal(press("ArrowLeft", 0), 0);
  assert.deepEqual([...shown(tree, open, null, null)], [0]);
  assert.equal(press("x", 0), null);
});

test("tensors are read with their names; a scalar has no sizes", () => {
  assert.deepEqual(tensors("x:2,8 float32\n: int64"), [{ name: "x", shape: "2×8", dtype: "float32" }, { name: "", shape: "scalar", dtype: "int64" }]);
  assert.deepEqual(tensors(""), []);
});

test("a row keeps its element while it is drawn, and others take the free ones", () => {
  const first = seats(new Map(), [10, 11, 12]);
  assert.deepEqual([...first], [[10, 0], [11, 1], [12, 2]]);
  const next = seats(first, [12, 13, 14, 15]);
  assert.deepEqual(new Map(next), new Map([[12, 2], [13, 0], [14, 1], [15, 3]]));
  assert.deepEqual([...seats(new Map([[12, 3]]), [12])], [[12, 3]]);
});
