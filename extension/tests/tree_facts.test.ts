import assert from "node:assert/strict";
import { test } from "node:test";
import type { Spikes } from "../src/core/model_tree";
import { classOf, firingFacts } from "../src/core/tree_facts";

const spikes = { coding: "rate", signed: false, num_levels: 16, num_steps: 1, weight_bits: 4, salient_fraction: 0, slots: 10, active_slots: 9, silent: 1, pairs: 10, unary_events: 20, ac_unary: 0, ac_bitwise: 0, effective_macs: 0, dense_macs: 0 } as unknown as Spikes;

test("one step is one step, and no salient feature is not worth a line", () => {
  const facts = firingFacts(spikes);
  assert.equal(facts[0]?.text, "rate, Q = 16 levels, S = 1 step, weights of 4 bits");
  assert.ok(!facts.some((fact) => fact.name === "salient"));
  const two = firingFacts({ ...spikes, num_steps: 2, salient_fraction: 0.125 });
  assert.match(two[0]?.text ?? "", /S = 2 steps/);
  assert.ok(two.some((fact) => fact.name === "salient"));
});

test("an edited class has no digest for a name", () => {
  assert.equal(classOf("darkit_patch_LlamaMLP_69e024c95282", "LlamaMLP"), "LlamaMLP, edited");
  assert.equal(classOf("torch.nn.modules.linear", "Linear"), "torch.nn.modules.linear.Linear");
});
