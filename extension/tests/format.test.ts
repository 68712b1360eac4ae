import assert from "node:assert/strict";
import { test } from "node:test";
import { duration, percent, short, significant, unbroken } from "../src/core/format";
import { isDarkColour } from "../src/core/theme";

test("numbers are short and keep their meaning", () => {
  assert.equal(short(1234), "1234");
  assert.equal(short(12_345), "12.3 k");
  assert.equal(short(5_600_000, "B"), "5.60 MB");
  assert.equal(short(0.001234), "0.00123");
  assert.equal(short(-2.5), "−2.50");
  assert.equal(short(null), "–");
  assert.equal(short(Number.POSITIVE_INFINITY), "∞");
  assert.equal(significant(0.0000123, 2), "1.2e-5");
  assert.equal(percent(0.0789), "7.9 %");
  assert.equal(percent(Number.NaN), "–");
});

test("durations read like a clock", () => {
  assert.equal(duration(12.4), "12 s");
  assert.equal(duration(65), "1 min 05 s");
  assert.equal(duration(3 * 3600 + 7 * 60), "3 h 07 min");
  assert.equal(duration(90_000), "1 d 1 h");
  assert.equal(duration(null), "–");
});

test("a number stays on the line of its unit", () => {
  assert.equal(unbroken("Net2 on cpu · 48 tokens · 12.3k parameters, 0 trainable · fires 3.2 % · 321 µJ"),
    "Net2 on cpu · 48\u00a0tokens · 12.3k\u00a0parameters, 0\u00a0trainable · fires 3.2\u00a0% · 321\u00a0µJ");
  assert.equal(unbroken("layer 2"), "layer 2");
});

test("a colour is dark by its luminance", () => {
  assert.equal(isDarkColour("rgb(17, 17, 17)"), true);
  assert.equal(isDarkColour("rgb(255, 255, 255)"), false);
  assert.equal(isDarkColour("rgba(0, 0, 0, 0)"), false);
  assert.equal(isDarkColour(""), false);
});
