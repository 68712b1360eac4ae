// New notebooks, as text.

export interface NewCell {
  kind: "markdown" | "code";
  source: string;
}

/** A notebook of these cells for that kernel, as a file holds it. */
export function notebookFile(cells: readonly NewCell[], kernel: string): string {
  const made = cells.map(({ kind, source }, index) => ({
    cell_type: kind,
    id: `cell-${index}`,
    metadata: {},
    source,
    ...(kind === "code" ? { execution_count: null, outputs: [] } : {}),
  }));
  const kernelspec = { name: kernel, display_name: kernel, language: "python" };
  return JSON.stringify({ cells: made, metadata: { kernelspec }, nbformat: 4, nbformat_minor: 5 }, null, 1);
}

export const STUDIO: readonly NewCell[] = [{ kind: "code", source: "import darkit_nb as dk\n\ndk.Studio()" }];

export const TRAINING: readonly NewCell[] = [
  {
    kind: "markdown",
    source:
      "# Train a spiking language model\n\nA configuration says everything about a run; `dk.train` starts it and returns at once. " +
      "It goes on when this notebook is closed.",
  },
  {
    kind: "code",
    source:
      'import darkit_nb as dk\n\nconfig = dk.load_config(overrides=["train.steps=200", "name=my-run"])\nconfig',
  },
  { kind: "code", source: "run = dk.train(config)\nrun" },
  { kind: "markdown", source: "When it has ended, its measurements are a table, and the model writes." },
  { kind: "code", source: "run.wait()\nrun.metrics.tail()" },
  { kind: "code", source: "dk.widgets.GenerateBox(run)" },
];

/** Source of a cell that shows a run; `path` as the notebook's folder sees it. */
export function dashboardSource(path: string, importing: boolean): string {
  return `${importing ? "import darkit_nb as dk\n\n" : ""}dk.open_run(${JSON.stringify(path)})`;
}
