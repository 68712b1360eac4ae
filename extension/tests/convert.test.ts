import assert from "node:assert/strict";
import { test } from "node:test";
import {
  alongLine, type Block, deltaParts, deltaText, errorText, errorTick, frontier, heatMap, heatShare, isLogarithmic, type Layer, linear, logarithmic, logTicks, lossScale, niceTicks, type Pace, paceText, placeLabels, restOfBlocks, type Row, spread,
} from "../src/core/convert";

const layer = (name: string, error: number): Layer => ({
  name, in_features: 8, out_features: 8, error, mean_steps: 1, activation_bits: 4, code_bits: 4, weight_bits: 4, storage_bits: 4.5,
});
const block = (index: number, layers: Layer[]): Block => ({
  index, name: `model.layers.${index}`, seconds: 1, peak_bytes: null, error: 0.1, own_error: null, resumed: false, losses: [], layers,
});

test("ticks are round and inside their range", () => {
  assert.deepEqual(niceTicks(0, 1), [0, 0.25, 0.5, 0.75, 1]);
  assert.deepEqual(niceTicks(27.4, 54.1), [30, 40, 50]);
  assert.deepEqual(logTicks(14, 80), [20, 30, 50, 70]);
  assert.deepEqual(logTicks(1, 1000), [1, 10, 100, 1000]);
});

test("axes hold every value and stand still without any", () => {
  const up = linear([0.02, 0.11], 180, 10, true);
  assert.equal(up.of(0), 180);
  assert.ok(up.of(0.11) > 10);
  const across = logarithmic([16, 18, 256], 50, 600);
  assert.ok(across.of(16) > 50 && across.of(256) < 600 && across.of(18) > across.of(16));
  assert.deepEqual(linear([], 180, 10, true).ticks.length > 0, true);
  const near = spread([4.17, 4.18], 0, 100);
  assert.ok(near.ticks.length >= 2 && near.of(4.18) - near.of(4.17) < 10);
  assert.deepEqual(spread([1, 10, 100], 0, 100).ticks, [1, 10, 100]);
  assert.deepEqual(spread([18, 18], 0, 100).ticks, [18]);
});

test("losses stand above the float model, and on a logarithm where they are far apart", () => {
  const row = (delta: number, half: number) => ({ delta, low: delta - half, high: delta + half }) as Row;
  const near = lossScale([row(0.03, 0.005), row(0.002, 0.005)], 200, 0);
  assert.ok(near.zero && near.of(0) < 200 && near.of(-0.003) > near.of(0) && near.of(0.035) > 0);
  const far = lossScale([row(2.5, 0.1), row(0.004, 0.001)], 200, 0);
  assert.ok(!far.zero && far.of(0.004) < 200 && far.of(2.5) > 0 && far.of(0.1) - far.of(2.5) > 30);
  assert.ok(lossScale([row(-0.001, 0.002), row(1, 0.1)], 200, 0).zero);
});

test("a map of layers keeps the place of blocks that are not done", () => {
  const map = heatMap([block(0, [layer("model.layers.0.mlp.up_proj", 0.1)]), block(2, [layer("model.layers.2.mlp.up_proj", 0.3)])], 4);
  assert.deepEqual(map.rows, ["mlp.up_proj"]);
  assert.deepEqual(map.cells[0]?.map((cell) => cell?.error ?? null), [0.1, null, 0.3, null]);
  assert.equal(heatShare(4, [4, 4]), 0.5);
  assert.equal(heatShare(1, [0.01, 100]), 0.5);
  assert.equal(heatShare(0.5, [0, 1]), 0.5);
  assert.deepEqual([isLogarithmic([0.01, 0.2]), isLogarithmic([0.01, 0.05]), isLogarithmic([0, 1])], [true, false, false]);
});

test("nothing beats the points of the frontier", () => {
  const points = [{ id: "a", x: 1, y: 5 }, { id: "b", x: 2, y: 6 }, { id: "c", x: 3, y: 2 }, { id: "d", x: 3, y: 1 }];
  assert.deepEqual(frontier(points).map((point) => point.id), ["a", "d"]);
});

test("names of points cover neither each other nor the edge", () => {
  const box = { left: 0, right: 200, top: 0, bottom: 100 };
  const labels = placeLabels([{ id: "a", x: 50, y: 50, width: 60 }, { id: "b", x: 70, y: 50, width: 60 }, { id: "c", x: 190, y: 50, width: 60 }], box);
  const first = labels.find((label) => label.id === "a"), last = labels.find((label) => label.id === "c");
  assert.notEqual(first?.y, labels.find((label) => label.id === "b")?.y === 54 ? 54 : undefined);
  assert.equal(last?.anchor, "end");
  assert.deepEqual(placeLabels([{ id: "a", x: 50, y: 50, width: 600 }], box), []);
  const covered = placeLabels([{ id: "a", x: 50, y: 50, width: 60 }], box, [[55, 40, 130, 60]]);
  assert.notEqual(covered[0]?.x, 59);
  const line = alongLine([{ x: 50, y: 50 }, { x: 150, y: 50 }]);
  assert.equal(line.length, 12);
  const point = { id: "a", x: 50, y: 50, width: 40 };
  assert.equal(placeLabels([point], box)[0]?.x, 59);
  assert.equal(placeLabels([point], box, [], line)[0]?.anchor, "end");
  assert.equal(placeLabels([point], box, [[0, 0, 58, 100]], line)[0]?.x, 59); // nowhere else to go
});

test("errors and differences read well", () => {
  assert.equal(errorText(0.00321), "0.32 %");
  assert.equal(errorText(0.251), "25.1 %");
  assert.equal(errorText(0), "0 %");
  assert.deepEqual([0, 0.05, 0.5, 1, 0.0002].map(errorTick), ["0 %", "5 %", "50 %", "100 %", "0.02 %"]);
  assert.equal(errorText(1e-6), "<0.01 %");
  assert.equal(errorText(Number.NaN), "not finite");
  const row = { delta: 0.0312, low: 0.027, high: 0.0354 } as Row;
  assert.equal(deltaText(row), "+0.031 ± 0.004");
  assert.equal(deltaText({ ...row, delta: -0.002, low: null }), "−0.002");
  assert.equal(deltaText({ ...row, delta: null, why: "" }), "–");
  assert.equal(deltaText({ ...row, delta: null, why: "another text" }), "– another text");
  assert.deepEqual(deltaParts({ delta: 0.0021, low: 0.0017, high: 0.0025 } as Row), ["+0.0021", "± 0.0004"]);
});

test("the time that is left follows the pace of the blocks", () => {
  const pace: Pace = { block_s: 10, since_s: 4, left: 5, measured: true, planned_s: 100, expected_s: 100 };
  assert.equal(restOfBlocks(pace, 0), 46);
  assert.equal(restOfBlocks(pace, 6), 40);
  assert.equal(restOfBlocks(pace, 26), 5 * 30 - 30, "a block that takes longer slows those behind it");
  assert.equal(restOfBlocks({ ...pace, left: 1 }, 30), 0);
  assert.equal(paceText(pace, 0), "about 45 s left for the blocks");
  assert.equal(paceText({ ...pace, measured: false }, 0), "about 45 s left for the blocks, by the plan");
  assert.equal(paceText({ ...pace, expected_s: 200 }, 0), "about 45 s left for the blocks (plan: 1 min 40 s)");
  assert.equal(paceText({ ...pace, measured: false }, 40), "about 3 min 00 s left for the blocks (plan: 1 min 40 s)");
  assert.match(paceText({ ...pace, left: 1, planned_s: null }, 30), /^the last block takes longer/);
});
