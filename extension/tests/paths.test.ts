import assert from "node:assert/strict";
import { test } from "node:test";
import { baseName, freeName, join, nameOfRun, parent, placesOfRuns, relative, timeOfRun } from "../src/core/paths";

test("paths are joined and taken apart", () => {
  assert.equal(join("", "runs"), "runs");
  assert.equal(join("a/b", "/runs/", "x"), "a/b/runs/x");
  assert.equal(parent("a/b/c.ipynb"), "a/b");
  assert.equal(parent("c.ipynb"), "");
  assert.equal(baseName("a/b"), "b");
});

test("a notebook names a run by a path that cannot be taken for an id", () => {
  assert.equal(relative("", "runs/x"), "runs/x");
  assert.equal(relative("a/b", "a/runs/x"), "../runs/x");
  assert.equal(relative("a", "a/x"), "./x");
  assert.equal(relative("a/runs/x", "a/runs/x"), "./");
});

test("runs are looked for where the person is, beside open notebooks and at the root, each once", () => {
  assert.deepEqual(placesOfRuns("work", ["work/a.ipynb", "other/b.ipynb", "c.ipynb"]), ["work", "other", ""]);
  assert.deepEqual(placesOfRuns("", []), [""]);
});

test("a new file never takes the name of another", () => {
  assert.equal(freeName("studio", ".ipynb", []), "studio.ipynb");
  assert.equal(freeName("studio", ".ipynb", ["studio.ipynb", "studio-1.ipynb"]), "studio-2.ipynb");
});

test("an id tells name and time", () => {
  assert.equal(nameOfRun("20261122-014207-spike-llama-ab12"), "spike-llama");
  assert.equal(timeOfRun("20261122-014207-spike-llama-ab12"), Date.UTC(2026, 10, 22, 1, 42, 7) / 1000);
  assert.equal(nameOfRun("mine"), "mine");
  assert.equal(timeOfRun("mine"), null);
});
