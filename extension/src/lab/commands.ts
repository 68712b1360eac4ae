import type { JupyterFrontEnd } from "@jupyterlab/application";
import { showErrorMessage } from "@jupyterlab/apputils";
import { baseName } from "../core/paths";
import { copyText } from "../ui/parts";
import { editModule } from "./edit_cell";
import { JupyterFiles } from "./files";
import { darkitIcon, runsIcon, studioIcon } from "./icons";
import type { Notebooks } from "./notebooks";

export const COMMAND = {
  quickstart: "darkit:open-quickstart",
  studio: "darkit:open-studio",
  training: "darkit:new-training-notebook",
  showRuns: "darkit:show-runs",
  dashboard: "darkit:open-dashboard",
  insert: "darkit:insert-dashboard",
  folder: "darkit:open-run-folder",
  copyId: "darkit:copy-run-id",
  copyCommand: "darkit:copy-run-command",
  editModule: "darkit:edit-module",
} as const;

/** Commands a person finds in the palette; the others belong to one run and get its path. */
export const IN_PALETTE = [COMMAND.quickstart, COMMAND.studio, COMMAND.training, COMMAND.showRuns, COMMAND.editModule];
/** Entries of a run's menu. */
export const OF_A_RUN = [COMMAND.dashboard, COMMAND.insert, COMMAND.folder, COMMAND.copyId, COMMAND.copyCommand];

type Arguments = { cwd?: string; path?: string; isPalette?: boolean };

/** What commands need of the rest. */
export interface Surroundings {
  app: JupyterFrontEnd;
  notebooks: Notebooks;
  currentFolder: () => string;
  runsPanelId: string;
}

export function addCommands(around: Surroundings): void {
  const { app, notebooks } = around;
  const place = (args: Arguments) => args.cwd ?? around.currentFolder();
  const add = (id: string, label: string, caption: string, execute: (args: Arguments) => unknown, more: object = {}) =>
    app.commands.addCommand(id, { label, caption, execute: told(label, execute), ...more });

  add(COMMAND.quickstart, "DarKit quickstart", "See a language model spike within a minute", (args) => notebooks.quickstart(place(args)), {
    label: (args: Arguments) => (args.isPalette ? "Open the quickstart" : "DarKit quickstart"),
    icon: darkitIcon,
  });
  add(COMMAND.studio, "DarKit Studio", "Build, start and watch a training", (args) => notebooks.studio(place(args)), {
    label: (args: Arguments) => (args.isPalette ? "Open Studio" : "DarKit Studio"),
    icon: studioIcon,
  });
  add(COMMAND.training, "New training notebook", "A notebook that trains from Python", (args) => notebooks.training(place(args)));
  add(COMMAND.showRuns, "Show runs", "Trainings and how far they are", () => app.shell.activateById(around.runsPanelId), {
    icon: runsIcon,
  });
  add(COMMAND.editModule, "Edit module in a new cell", "Its source, to be changed and put back into the model or run", () => editModule(app, notebooks), {
    isEnabled: () => notebooks.current() !== null,
  });
  addRunCommands(around, add);
}

type Add = (id: string, label: string, caption: string, execute: (args: Arguments) => unknown, more?: object) => unknown;

function addRunCommands({ app, notebooks }: Surroundings, add: Add): void {
  const files = new JupyterFiles(app.serviceManager.contents);
  const run = (args: Arguments) => args.path ?? "";
  add(COMMAND.dashboard, "Open dashboard", "In a new notebook", (args) => notebooks.dashboard(run(args)));
  add(COMMAND.insert, "Insert dashboard here", "Into the notebook in front", (args) => notebooks.insert(run(args)), {
    label: () => `Insert dashboard into ${baseName(notebooks.current()?.context.path ?? "the notebook")}`,
    isEnabled: () => notebooks.current() !== null,
  });
  add(COMMAND.folder, "Open folder", "In the file browser", async (args) => {
    await app.commands.execute("filebrowser:activate");
    await app.commands.execute("filebrowser:go-to-path", { path: `/${run(args)}` });
  });
  add(COMMAND.copyId, "Copy id", "By which commands find the run", (args) => copyText(baseName(run(args))));
  add(COMMAND.copyCommand, "Copy command", "That starts the same training in a terminal", async (args) =>
    copyText((await files.text(`${run(args)}/command.txt`)).trim()),
  );
}

/** A failure is shown to the person who clicked, not only to the console. */
function told(label: string, execute: (args: Arguments) => unknown) {
  return async (args: object) => {
    try {
      await execute(args as Arguments);
    } catch (error) {
      await showErrorMessage(`${label} did not work`, error instanceof Error ? error.message : String(error));
    }
  };
}
