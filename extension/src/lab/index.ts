// The JupyterLab extension. It only adds: everything of DarKit-NB works without it.
import { ILayoutRestorer, type JupyterFrontEnd, type JupyterFrontEndPlugin } from "@jupyterlab/application";
import { ICommandPalette } from "@jupyterlab/apputils";
import { IDocumentManager } from "@jupyterlab/docmanager";
import { IDefaultFileBrowser } from "@jupyterlab/filebrowser";
import { ILauncher } from "@jupyterlab/launcher";
import { addCommands, COMMAND, IN_PALETTE } from "./commands";
import { listenForCells } from "./edit_cell";
import { Notebooks } from "./notebooks";
import { RunsPanel } from "./runs_panel";

const CATEGORY = "DarKit";

const plugin: JupyterFrontEndPlugin<void> = {
  id: "darkit-nb:plugin",
  description: "Launcher cards, palette entries and a panel of runs for DarKit-NB.",
  autoStart: true,
  requires: [IDocumentManager],
  optional: [ILauncher, ICommandPalette, IDefaultFileBrowser, ILayoutRestorer],
  activate: (
    app: JupyterFrontEnd,
    documents: IDocumentManager,
    launcher: ILauncher | null,
    palette: ICommandPalette | null,
    browser: IDefaultFileBrowser | null,
    restorer: ILayoutRestorer | null,
  ) => {
    const around = {
      app,
      notebooks: new Notebooks(app, documents),
      currentFolder: () => browser?.model.path ?? "",
      runsPanelId: "darkit-runs",
    };
    addCommands(around);
    listenForCells(around.notebooks);
    const panel = new RunsPanel(around);
    app.shell.add(panel, "left", { rank: 350 });
    restorer?.add(panel, panel.id);
    browser?.model.pathChanged.connect(() => panel.lookSoon());
    launcher?.add({ command: COMMAND.quickstart, category: CATEGORY, rank: 1 });
    launcher?.add({ command: COMMAND.studio, category: CATEGORY, rank: 2 });
    for (const command of IN_PALETTE) palette?.addItem({ command, category: CATEGORY, args: { isPalette: true } });
  },
};

export default plugin;
