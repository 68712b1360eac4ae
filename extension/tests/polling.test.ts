import assert from "node:assert/strict";
import { test } from "node:test";
import { nextLook } from "../src/core/polling";

test("looks are frequent only while somebody looks and something moves", () => {
  assert.equal(nextLook({ visible: false, active: true, failures: 0 }), null);
  assert.equal(nextLook({ visible: true, active: true, failures: 0 }), 3000);
  assert.equal(nextLook({ visible: true, active: false, failures: 0 }), 15000);
});

test("a server that does not answer is asked less and less, and never forgotten", () => {
  const waits = [1, 2, 3, 9].map((failures) => nextLook({ visible: true, active: true, failures }));
  assert.deepEqual(waits, [6000, 12000, 24000, 60000]);
});
