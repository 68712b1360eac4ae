import assert from "node:assert/strict";
import { test } from "node:test";
import { nearestSpan, rasterSize, SPANS, spanText } from "../src/core/charts";

test("every span has its own place on the slider, others the nearest one", () => {
  SPANS.forEach((span, place) => assert.equal(nearestSpan(span), place));
  assert.equal(nearestSpan(0), 0);
  assert.equal(nearestSpan(12), 3);
  assert.equal(nearestSpan(16), 4);
  assert.equal(nearestSpan(1e9), SPANS.length - 1);
});

test("a span is told in steps", () => {
  assert.equal(spanText(1), "off");
  assert.equal(spanText(20), "20 steps");
});

test("images are twice as large as the drawing, within limits", () => {
  assert.deepEqual(rasterSize(960, 600), [1920, 1200]);
  assert.deepEqual(rasterSize(960, 16384), [480, 8192]);
  assert.deepEqual(rasterSize(0, 0), [1, 1]);
});
