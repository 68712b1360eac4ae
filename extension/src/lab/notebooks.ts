// Opening notebooks: ones that are there, new ones, and a cell in the one that is in front.
import type { JupyterFrontEnd } from "@jupyterlab/application";
import type { IDocumentManager } from "@jupyterlab/docmanager";
import type { Widget } from "@lumino/widgets";
import quickstart from "../../../notebooks/01_quickstart.ipynb";
import { dashboardSource, type NewCell, notebookFile, STUDIO, TRAINING } from "../core/notebook_file";
import { freeName, join, nameOfRun, baseName, parent, relative } from "../core/paths";
import { JupyterFiles } from "./files";

const QUICKSTART = "01_quickstart.ipynb";

type OpenDocument = NonNullable<ReturnType<IDocumentManager["openOrReveal"]>>;

/** As much of a notebook's widget as a cell's text needs. */
interface NotebookContent {
  widgets: readonly { node: HTMLElement }[];
  activeCellIndex: number;
  activeCell: { model: { sharedModel: { source: string; setSource(text: string): void } } } | null;
}

export class Notebooks {
  private readonly files: JupyterFiles;

  constructor(
    private readonly app: JupyterFrontEnd,
    private readonly documents: IDocumentManager,
  ) {
    this.files = new JupyterFiles(app.serviceManager.contents);
  }

  /** Paths of the notebooks that are open. */
  open(): string[] {
    return [...this.app.shell.widgets("main")].map((widget) => this.pathOf(widget)).filter((path) => path.endsWith(".ipynb"));
  }

  /** The notebook in front; null where something else is. */
  current(): OpenDocument | null {
    const widget = this.app.shell.currentWidget;
    return widget && this.pathOf(widget).endsWith(".ipynb") ? (widget as OpenDocument) : null;
  }

  /** The quickstart of this folder; a copy is put there first where it has none. */
  async quickstart(folder: string): Promise<void> {
    const path = join(folder, QUICKSTART);
    const names = (await this.files.list(folder)).map((entry) => entry.name);
    if (!names.includes(QUICKSTART)) await this.write(path, quickstart);
    await this.show(path);
  }

  async studio(folder: string): Promise<void> {
    await this.run(await this.create(folder, "studio", STUDIO));
  }

  async training(folder: string): Promise<void> {
    await this.create(folder, "training", TRAINING);
  }

  /** A new notebook that shows the run, beside the folder of its runs. */
  async dashboard(run: string): Promise<void> {
    const folder = parent(parent(run));
    const cell: NewCell = { kind: "code", source: dashboardSource(relative(folder, run), true) };
    await this.run(await this.create(folder, nameOfRun(baseName(run)), [cell]));
  }

  /** A new cell with the run in the notebook in front. */
  async insert(run: string): Promise<void> {
    const widget = this.current();
    if (!widget) return;
    const source = dashboardSource(relative(parent(widget.context.path), run), true);
    const content = widget.content as unknown as NotebookContent;
    if (content.activeCell?.model.sharedModel.source.trim()) {
      await this.app.commands.execute("notebook:insert-cell-below");
    }
    content.activeCell?.model.sharedModel.setSource(source);
    await this.app.commands.execute("notebook:run-cell");
  }

  /** Whether a part of the page is in a notebook that is in front. */
  holds(part: Node): boolean {
    return this.current()?.content.node.contains(part) ?? false;
  }

  /** A new code cell with that text, below the cell that holds a part of the page, or below the active one. */
  async insertBelow(text: string, part?: Node): Promise<void> {
    const widget = this.current();
    if (!widget) throw new Error("Open a notebook first.");
    const content = widget.content as unknown as NotebookContent;
    const at = part ? content.widgets.findIndex((cell) => cell.node.contains(part)) : -1;
    if (at >= 0) content.activeCellIndex = at;
    await this.app.commands.execute("notebook:insert-cell-below");
    content.activeCell?.model.sharedModel.setSource(text);
    await this.app.commands.execute("notebook:enter-edit-mode");
  }

  private async create(folder: string, name: string, cells: readonly NewCell[]): Promise<OpenDocument> {
    await this.app.serviceManager.kernelspecs.ready;
    const kernel = this.app.serviceManager.kernelspecs.specs?.default ?? "python3";
    const taken = (await this.files.list(folder)).map((entry) => entry.name);
    const path = join(folder, freeName(name, ".ipynb", taken));
    await this.write(path, notebookFile(cells, kernel));
    return this.show(path);
  }

  private async write(path: string, text: string): Promise<void> {
    const content = JSON.parse(text);
    await this.app.serviceManager.contents.save(path, { type: "notebook", format: "json", content });
  }

  private async show(path: string): Promise<OpenDocument> {
    const widget = this.documents.openOrReveal(path, "Notebook");
    if (!widget) throw new Error(`JupyterLab has no editor for ${path}.`);
    await widget.revealed;
    return widget;
  }

  private async run(widget: OpenDocument): Promise<void> {
    await widget.context.sessionContext.ready;
    this.app.shell.activateById(widget.id);
    await this.app.commands.execute("notebook:run-all-cells");
  }

  private pathOf(widget: Widget): string {
    return this.documents.contextForWidget(widget)?.path ?? "";
  }
}
