// The runs panel's view: what to show comes in, what was clicked goes out.
import { useRef } from "preact/hooks";
import { duration, short } from "../core/format";
import { isActive } from "../core/run_state";
import type { RunGroup, RunSummary } from "../core/run_reader";
import { Button, Progress, StateChip } from "../ui/parts";

export interface RunListProps {
  /** null before the first look. */
  groups: RunGroup[] | null;
  now: number;
  /** Why the last look failed. */
  trouble: string | null;
  /** Change of state to read out. */
  news: string;
  onRun: (run: RunSummary, row: HTMLElement) => void;
  onOlder: () => void;
  onRefresh: () => void;
  onQuickstart: () => void;
  onStudio: () => void;
}

export function RunList(props: RunListProps) {
  const { groups, trouble, news } = props;
  return (
    <div class="dk-runs">
      <header class="dk-row">
        <h2 class="dk-title dk-grow">Runs</h2>
        <Button kind="quiet" onClick={props.onStudio} title="Build and start a training in a new notebook">New run</Button>
        <Button kind="quiet" onClick={props.onRefresh} aria-label="Look again now" title="Look again now">↻</Button>
      </header>
      {trouble && <p class="dk-runs-trouble" role="status">{trouble}</p>}
      {groups === null ? <p class="dk-empty">Looking for runs…</p> : groups.length === 0 ? <Nothing {...props} /> : <Groups {...props} />}
      <div class="dk-hidden" role="status" aria-live="polite">{news}</div>
    </div>
  );
}

function Nothing({ onQuickstart }: RunListProps) {
  return (
    <div class="dk-empty">
      <p>No runs yet. They appear here while they train, from any notebook or terminal that works in these folders.</p>
      <Button kind="primary" onClick={onQuickstart}>Open quickstart</Button>
    </div>
  );
}

/** One tab stop; arrows, Home and End move between runs. */
function Groups({ groups, now, onRun, onOlder }: RunListProps) {
  const list = useRef<HTMLDivElement>(null);
  const move = (event: KeyboardEvent) => {
    const rows = [...(list.current?.querySelectorAll<HTMLElement>(".dk-run") ?? [])];
    const at = rows.indexOf(document.activeElement as HTMLElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: rows.length - 1 }[event.key];
    const row = to === undefined || at < 0 ? undefined : rows[to];
    if (!row) return;
    event.preventDefault();
    for (const other of rows) other.tabIndex = other === row ? 0 : -1;
    row.focus();
  };
  let first = true;
  return (
    <div class="dk-runs-groups" ref={list} onKeyDown={move}>
      {(groups ?? []).map((group) => (
        <section key={group.folder} aria-label={`Runs in ${group.folder}`}>
          {(groups ?? []).length > 1 && <h3 class="dk-runs-folder" title={group.folder}>{group.folder}</h3>}
          <ul>
            {group.runs.map((run) => {
              const stop = first;
              first = false;
              return <Row key={run.path} run={run} now={now} tabStop={stop} onRun={onRun} />;
            })}
          </ul>
          {group.older > 0 && <Button kind="quiet" onClick={onOlder}>Show {group.older} older</Button>}
        </section>
      ))}
    </div>
  );
}

interface RowProps {
  run: RunSummary;
  now: number;
  tabStop: boolean;
  onRun: RunListProps["onRun"];
}

function Row({ run, now, tabStop, onRun }: RowProps) {
  const share = run.step !== null && run.totalSteps ? run.step / run.totalSteps : null;
  return (
    <li>
      <button
        type="button"
        class="dk-run"
        data-state={run.state}
        tabIndex={tabStop ? 0 : -1}
        aria-haspopup="menu"
        aria-label={spoken(run)}
        title={[run.id, run.reason].filter(Boolean).join("\n")}
        onClick={(event) => onRun(run, event.currentTarget)}
      >
        <span class="dk-run-head">
          <span class="dk-run-name">{run.name}</span>
          <StateChip state={run.state} />
        </span>
        <Progress share={isActive(run.state) ? share : (share ?? 0)} label={`Progress of ${run.name}`} />
        <span class="dk-run-facts">
          <span>{steps(run)}</span>
          <span>{when(run, now)}</span>
        </span>
        <span class="dk-run-note">{note(run)}</span>
      </button>
    </li>
  );
}

function steps({ step, totalSteps }: RunSummary): string {
  if (step === null) return "no step yet";
  return totalSteps ? `${step} / ${totalSteps}` : `step ${step}`;
}

function when(run: RunSummary, now: number): string {
  if (run.started === null) return "";
  if (isActive(run.state)) return duration(now - run.started);
  const [number, unit] = duration(now - (run.ended ?? run.started)).split(" ");
  return `${number} ${unit} ago`;
}

/** Why it ended badly, or else what was measured last. */
function note(run: RunSummary): string {
  if (run.reason && (run.state === "failed" || run.state === "lost")) return run.reason;
  const measured = run.loss === null ? [] : [`loss ${short(run.loss)}`];
  if (run.bitsPerByte !== null) measured.push(`${short(run.bitsPerByte)} bits/byte`);
  return measured.join(" · ") || "nothing measured yet";
}

function spoken(run: RunSummary): string {
  return [run.name, run.state, steps(run), note(run)].join(", ");
}
