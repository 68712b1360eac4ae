// Cells that a widget or a person asks for: below the cell where the click was, or below the active one.
import type { JupyterFrontEnd } from "@jupyterlab/application";
import { InputDialog } from "@jupyterlab/apputils";
import { INSERT_CELL, type NewCellEvent } from "../core/new_cell";
import type { Notebooks } from "./notebooks";

/** Takes the events of widgets that have a cell to insert; a page without this extension leaves them alone. */
export function listenForCells(notebooks: Notebooks): void {
  document.addEventListener(INSERT_CELL, (event) => {
    const { text } = (event as NewCellEvent).detail;
    if (notebooks.holds(event.target as Node)) {
      event.preventDefault(); // now: whoever asked looks at it as soon as this returns
      void notebooks.insertBelow(text, event.target as Node);
    }
  });
}

/** Asks for a module by name, and has the kernel put its source into a cell. */
export async function editModule(app: JupyterFrontEnd, notebooks: Notebooks): Promise<void> {
  const asked = await InputDialog.getText({
    title: "Edit module in a new cell",
    label: "Module",
    placeholder: "model.layers[0].mlp",
    okLabel: "Edit",
  });
  const name = asked.value?.trim();
  if (!asked.button.accept || !name) return;
  await notebooks.insertBelow(`%darkit edit ${name}`);
  await app.commands.execute("notebook:run-cell");
}
