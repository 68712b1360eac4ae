import assert from "node:assert/strict";
import { test } from "node:test";
import { hueOf, visible } from "../src/core/tokens";

test("white space can be seen, and lines stay lines", () => {
  assert.equal(visible("a\n\tb"), "a⏎\n⇥b");
  assert.equal(visible("\r\n"), "␍⏎\n");
  assert.equal(visible(" x"), " x");
});

test("a token keeps its colour, neighbours differ", () => {
  assert.equal(hueOf(5), hueOf(5 + 8));
  assert.notEqual(hueOf(5), hueOf(6));
  assert.ok(hueOf(50_000) < 360);
});
