import assert from "node:assert/strict";
import { test } from "node:test";
import { dashboardSource, notebookFile, STUDIO, TRAINING } from "../src/core/notebook_file";

test("a new notebook is a valid one, every cell with an id of its own", () => {
  const made = JSON.parse(notebookFile(TRAINING, "python3"));
  assert.equal(made.nbformat, 4);
  assert.equal(made.metadata.kernelspec.name, "python3");
  const ids = made.cells.map((cell: { id: string }) => cell.id);
  assert.equal(new Set(ids).size, TRAINING.length);
  for (const cell of made.cells) assert.equal("outputs" in cell, cell.cell_type === "code");
});

test("Studio is one cell", () => {
  assert.deepEqual(STUDIO.map((cell) => cell.source), ["import darkit_nb as dk\n\ndk.Studio()"]);
});

test("a dashboard names its run by a path that Python reads back", () => {
  assert.equal(dashboardSource('runs/a "b"', false), 'dk.open_run("runs/a \\"b\\"")');
  assert.match(dashboardSource("runs/x", true), /^import darkit_nb as dk\n/);
});
