// The left-hand runs panel: looks at the files while somebody can see it, and gives every run a menu.
import type { JupyterFrontEnd } from "@jupyterlab/application";
import { Menu, Widget } from "@lumino/widgets";
import { render } from "preact";
import { placesOfRuns } from "../core/paths";
import { nextLook } from "../core/polling";
import { type RunGroup, RunReader, type RunSummary } from "../core/run_reader";
import { isActive } from "../core/run_state";
import { followTheme } from "../ui/widget";
import { COMMAND, OF_A_RUN, type Surroundings } from "./commands";
import { JupyterFiles, ServerClock } from "./files";
import { runsIcon } from "./icons";
import { RunList } from "./run_list";
import "./runs_panel.css";

const RUNS_AT_ONCE = 30;

export class RunsPanel extends Widget {
  private readonly app: JupyterFrontEnd;
  private readonly reader: RunReader;
  private readonly clock: ServerClock;
  private readonly menu: Menu;
  private readonly forgetTheme: () => void;
  private readonly pageShown = () => this.lookSoon();
  private timer: number | undefined;
  private looking = false;
  private again = false;
  private failures = 0;
  private limit = RUNS_AT_ONCE;
  private groups: RunGroup[] | null = null;
  private now = 0;
  private trouble: string | null = null;
  private news = "";

  constructor(private readonly around: Surroundings) {
    super();
    this.app = around.app;
    this.id = around.runsPanelId;
    this.title.icon = runsIcon;
    this.title.caption = "DarKit runs";
    this.addClass("dk");
    this.addClass("dk-runs-panel");
    this.node.setAttribute("role", "region");
    this.node.setAttribute("aria-label", "DarKit runs");
    this.reader = new RunReader(new JupyterFiles(this.app.serviceManager.contents));
    this.clock = new ServerClock(this.app.serviceManager);
    this.menu = new Menu({ commands: this.app.commands });
    this.forgetTheme = followTheme((theme) => { this.node.dataset.theme = theme; });
    document.addEventListener("visibilitychange", this.pageShown);
    this.draw();
  }

  override dispose(): void {
    if (this.isDisposed) return;
    window.clearTimeout(this.timer);
    document.removeEventListener("visibilitychange", this.pageShown);
    this.forgetTheme();
    this.menu.dispose();
    render(null, this.node);
    super.dispose();
  }

  /** Look now, if somebody can see it. */
  lookSoon(): void {
    window.clearTimeout(this.timer);
    if (this.seen) void this.look();
  }

  protected override onAfterShow(): void {
    this.lookSoon();
  }

  protected override onAfterAttach(): void {
    this.lookSoon();
  }

  protected override onActivateRequest(): void {
    (this.node.querySelector<HTMLElement>(".dk-run[tabindex='0']") ?? this.node.querySelector("button"))?.focus();
  }

  private get seen(): boolean {
    return this.isVisible && !document.hidden && !this.isDisposed;
  }

  private async look(): Promise<void> {
    if (this.looking) {
      this.again = true; // what is asked for now may be another folder
      return;
    }
    this.looking = true;
    this.again = false;
    try {
      this.now = await this.clock.now();
      const places = placesOfRuns(this.around.currentFolder(), this.around.notebooks.open());
      const groups = await this.reader.read(places, this.now, this.limit);
      this.news = changes(this.groups, groups) || this.news;
      this.groups = groups;
      this.failures = 0;
      this.trouble = null;
    } catch (error) {
      this.failures += 1;
      this.trouble = `The runs cannot be read: ${error instanceof Error ? error.message : error}`;
    } finally {
      this.looking = false;
    }
    if (this.isDisposed) return;
    this.draw();
    const active = this.groups?.some((group) => group.runs.some((run) => isActive(run.state) || run.state === "queued")) ?? false;
    const wait = this.again ? 0 : nextLook({ visible: this.seen, active, failures: this.failures });
    window.clearTimeout(this.timer);
    if (wait !== null) this.timer = window.setTimeout(() => this.lookSoon(), wait);
  }

  private draw(): void {
    const execute = (command: string) => () => void this.app.commands.execute(command);
    render(
      <RunList
        groups={this.groups}
        now={this.now}
        trouble={this.trouble}
        news={this.news}
        onRun={(run, row) => this.openMenu(run, row)}
        onOlder={() => { this.limit += RUNS_AT_ONCE; this.lookSoon(); }}
        onRefresh={() => this.lookSoon()}
        onQuickstart={execute(COMMAND.quickstart)}
        onStudio={execute(COMMAND.studio)}
      />,
      this.node,
    );
  }

  private openMenu(run: RunSummary, row: HTMLElement): void {
    this.menu.clearItems();
    for (const command of OF_A_RUN) this.menu.addItem({ command, args: { path: run.path } });
    const box = row.getBoundingClientRect();
    this.menu.open(box.left + 12, box.bottom);
    this.menu.aboutToClose.connect(function back(menu) {
      menu.aboutToClose.disconnect(back);
      row.focus();
    });
  }
}

/** Changes of state between two looks, to be read out. */
function changes(before: RunGroup[] | null, after: RunGroup[]): string {
  if (!before) return "";
  const states = new Map(before.flatMap((group) => group.runs.map((run) => [run.path, run.state])));
  return after
    .flatMap((group) => group.runs)
    .filter((run) => states.get(run.path) !== run.state)
    .map((run) => `${run.name}: ${run.state}`)
    .join(". ");
}
