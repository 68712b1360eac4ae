import assert from "node:assert/strict";
import { test } from "node:test";
import { askForCell, INSERT_CELL, type NewCellEvent } from "../src/core/new_cell";

test("a wish for a cell is granted by whoever takes the event, and refused where nobody does", () => {
  const page = new EventTarget();
  assert.equal(askForCell(page, "x"), false);
  const made: string[] = [];
  page.addEventListener(INSERT_CELL, (event) => { event.preventDefault(); made.push((event as NewCellEvent).detail.text); });
  assert.equal(askForCell(page, "%%darkit patch model\nclass A: pass"), true);
  assert.deepEqual(made, ["%%darkit patch model\nclass A: pass"]);
});
