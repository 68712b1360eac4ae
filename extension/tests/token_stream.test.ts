import assert from "node:assert/strict";
import { test } from "node:test";
import { barHeights, pythonLine, rateSpan, type SaidTrait, tokensOf, totals, written } from "../src/core/token_stream";

const column = (...values: (number | null)[]) => new DataView(Float64Array.from(values, (value) => value ?? NaN).buffer);

const said: SaidTrait = {
  prompt: "a",
  texts: ["b\n", "", " c"],
  labels: ["b⏎", "⋯", "␣c"],
  firing_rate: column(0.931, 0.952, 0.9),
  energy_pj: column(1e6, 2e6, 3e6),
  unary_events: column(10, 20, 30),
  seconds: column(0.5, 0.25, 0.25),
};

test("columns become tokens", () => {
  assert.deepEqual(tokensOf(said)[2], { index: 2, text: " c", label: "␣c", firingRate: 0.9, energyPj: 3e6, unaryEvents: 30, seconds: 0.25 });
  assert.deepEqual(totals(tokensOf(said)), { tokens: 3, tokensPerSecond: 3, firingRate: (0.931 + 0.952 + 0.9) / 3, energyPj: 2e6 });
  assert.deepEqual(tokensOf(said).map(written), ["b⏎\n", "\u2009", " c"]);
});

test("a float model has no rate, and nothing has no mean", () => {
  const float = tokensOf({ ...said, firing_rate: column(null, null, null) });
  assert.equal(float[0]?.firingRate, null);
  assert.equal(rateSpan(float), null);
  assert.deepEqual(totals([]), { tokens: 0, tokensPerSecond: null, firingRate: null, energyPj: null });
});

test("the colours span the rates seen, in steps of half a percent", () => {
  assert.deepEqual(rateSpan(tokensOf(said)), [0.9, 0.955]);
  assert.deepEqual(rateSpan(tokensOf({ ...said, texts: ["x"], firing_rate: column(0.5) })), [0.5, 0.505]);
});

test("the line of Python names what was changed", () => {
  const usual = { max_new_tokens: 64, temperature: 0.8, top_k: 0, top_p: 0.95, seed: null };
  assert.equal(pythonLine("def \"x\"\n", usual), 'run.generate("def \\"x\\"\\n")');
  assert.equal(pythonLine("a", { ...usual, seed: 3, temperature: 0 }), 'run.generate("a", temperature=0, seed=3)');
});

test("bars that hardly differ stand alike", () => {
  assert.deepEqual(barHeights([1, 2, 3]), [20, 60, 100]);
  assert.deepEqual(barHeights([19.1, 19.11]), [60, 60]);
  assert.deepEqual(barHeights([0, 0]), [60, 60]);
});
