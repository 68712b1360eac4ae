// All runs of a folder: found, opened, stopped, queued, compared.
import "./runs_table.css";
import { useCallback, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { ACTIVE, type Column, counts, filtered, type Order, selection, sorted, steady, windowed } from "../core/run_rows";
import { Compared, type Comparison } from "../run/compared";
import { useNow } from "../run/clock";
import { RunRow } from "../run/row";
import { useRows } from "../run/use_rows";
import { Button, ErrorBox } from "../ui/parts";
import { type Model, type Problem, useAsk, useSharedTrait, useTrait, widget } from "../ui/widget";

const COLUMNS: [Column, string, string, string?][] = [
  ["state", "state", ""],
  ["name", "run", ""],
  ["progress", "steps", ""],
  ["loss", "loss", "n", "Training loss of the last step"],
  ["bits_per_byte", "bits/byte", "n rt-1", "On the validation text"],
  ["firing_rate", "firing", "n rt-2", "Share of spike slots that hold a spike"],
  ["energy_pj", "energy/token", "n rt-2", "Simulated, at 45 nm"],
  ["tokens_per_s", "tokens/s", "n rt-3"],
  ["started", "started", "rt-3"],
  ["duration", "took", "n rt-4"],
];
const SLOTS = ["1", "2", "3", "4", "6", "8", "fit"];
const DAY = 86_400;
const ROW_PX = 29;
const SEEN_PX = 420;

function RunsTable({ model }: { model: Model }) {
  const ask = useAsk(model);
  const table = useRows(model);
  const folder = useTrait<string>(model, "folder");
  const [ticked, setTicked] = useSharedTrait<string[]>(model, "selected");
  const [current, setCurrent] = useSharedTrait<string | null>(model, "current");
  const pending = useTrait<Record<string, { text: string }>>(model, "pending");
  const problem = useTrait<Problem | null>(model, "problem");
  const comparison = useTrait<Comparison | null>(model, "comparison");
  const [search, setSearch] = useState("");
  const [state, setState] = useState("");
  const [order, setOrder] = useState<Order>({ column: "started", down: true });
  const [focused, setFocused] = useState<string | null>(null);
  const pointed = useRef(false);
  const anchor = useRef<string | null>(null);
  const before = useRef<{ key: string; ids: string[] }>({ key: "", ids: [] });
  const box = useRef<HTMLDivElement>(null);
  const [top, setTop] = useState(0);
  const toFocus = useRef<string | null>(null);

  const all = useMemo(() => [...table.rows.values()], [table]);
  const now = useNow(table.now, all.some((row) => ACTIVE.has(row.state)));
  const key = JSON.stringify([order, search, state]);
  const ids = useMemo(() => {
    const wanted = sorted(filtered(all, search, state), order, table.now).map((row) => row.id);
    return pointed.current && before.current.key === key ? steady(before.current.ids, wanted) : wanted;
  }, [all, key]);
  before.current = { key, ids };
  const tabStop = focused !== null && ids.includes(focused) ? focused : ids[0];

  const tick = useCallback((id: string, range: boolean) => {
    setTicked(selection(model.get("selected") as string[], before.current.ids, id, anchor.current, range ? "range" : "toggle"));
    anchor.current = id;
    setFocused(id);
  }, [model, setTicked]);
  const open = useCallback((id: string) => {
    setFocused(id);
    anchor.current = id;
    setCurrent(id);
  }, [setCurrent]);
  const move = (to: number) => {
    const id = ids[Math.min(ids.length - 1, Math.max(0, to))];
    if (id === undefined) return;
    setFocused(id);
    const at = ids.indexOf(id) * ROW_PX;
    const seen = box.current as HTMLDivElement;
    const head = ROW_PX; // of the titles, which stay
    if (at < seen.scrollTop) seen.scrollTop = at;
    else if (at + ROW_PX + head > seen.scrollTop + seen.clientHeight) seen.scrollTop = at + ROW_PX + head - seen.clientHeight;
    setTop(seen.scrollTop);
    toFocus.current = id;
  };
  const typed = (event: KeyboardEvent) => {
    const at = tabStop === undefined ? -1 : ids.indexOf(tabStop);
    const steps: Record<string, number> = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: ids.length - 1, PageDown: at + 10, PageUp: at - 10 };
    const to = steps[event.key];
    if (to !== undefined) {
      move(to);
      const id = ids[Math.min(ids.length - 1, Math.max(0, to))];
      if (event.shiftKey && id !== undefined && !ticked.includes(id)) setTicked([...ticked, id]);
    } else if (event.key === "Enter" && tabStop !== undefined) open(tabStop);
    else if (event.key === " " && tabStop !== undefined) tick(tabStop, event.shiftKey);
    else if (event.key === "a" && (event.ctrlKey || event.metaKey)) setTicked(ids);
    else if (event.key === "Escape") setTicked([]);
    else return;
    event.preventDefault();
  };
  useLayoutEffect(() => {
    if (toFocus.current === null) return;
    (box.current?.querySelector(`[data-id="${CSS.escape(toFocus.current)}"]`) as HTMLElement | null)?.focus({ preventScroll: true });
    toFocus.current = null;
  });
  const [first, end] = windowed(ids.length, top, SEEN_PX, ROW_PX);
  const sort = (column: Column) => setOrder({ column, down: order.column === column ? !order.down : column === "started" || column === "tokens_per_s" });
  const allTicked = ids.length > 0 && ids.every((id) => ticked.includes(id));
  const today = now - (now % DAY);

  return (
    <section class="dk-card rt" aria-label={`Runs in ${folder}`}>
      <div class="rt-tools">
        <input class="dk-input rt-search" type="search" placeholder="Search runs" aria-label="Search runs" value={search}
          onInput={(event) => setSearch(event.currentTarget.value)}
          onKeyDown={(event) => { if (event.key === "Escape") setSearch(""); if (event.key === "ArrowDown") move(0); }} />
        <select class="dk-input rt-filter" aria-label="Show runs in state" value={state} onChange={(event) => setState(event.currentTarget.value)}>
          <option value="">all states ({all.length})</option>
          <option value="at work">at work ({all.filter((row) => ACTIVE.has(row.state)).length})</option>
          {counts(all).map(([name, count]) => <option key={name} value={name}>{name} ({count})</option>)}
        </select>
        <span class="dk-grow dk-muted rt-folder" title={folder}>{folder}</span>
        <Slots model={model} />
      </div>
      <div class="rt-scroll" ref={box} onScroll={(event) => setTop(event.currentTarget.scrollTop)} onMouseEnter={() => { pointed.current = true; }} onMouseLeave={() => { pointed.current = false; }}>
        <table class="dk-table" role="grid" aria-multiselectable="true" aria-rowcount={ids.length + 1} aria-label={`${ids.length} runs`}>
          <thead>
            <tr>
              <th class="rt-tick"><input type="checkbox" checked={allTicked} aria-label="Tick all runs shown" onChange={() => setTicked(allTicked ? [] : ids)} /></th>
              {COLUMNS.map(([column, title, kind, help]) => (
                <th key={column} class={kind.replace("n", "").trim() || undefined} data-number={kind.startsWith("n") || undefined}
                  aria-sort={order.column === column ? (order.down ? "descending" : "ascending") : "none"}>
                  <button type="button" class="rt-sort" title={help ?? `Sort by ${title}`} onClick={() => sort(column)}>
                    {title}<span aria-hidden="true">{order.column === column ? (order.down ? "▾" : "▴") : ""}</span>
                  </button>
                </th>
              ))}
            </tr>
          </thead>
          <tbody onKeyDown={typed}>
            {first > 0 && <tr key="above" aria-hidden="true" style={{ height: `${first * ROW_PX}px` }} />}
            {ids.slice(first, end).map((id, at) => {
              const row = table.rows.get(id);
              return row && (
                <RunRow key={id} index={first + at + 2} row={row} ticked={ticked.includes(id)} current={id === current} focused={id === tabStop}
                  pending={pending[id]?.text ?? null} now={ACTIVE.has(row.state) ? Math.floor(now) : today} onTick={tick} onOpen={open} />
              );
            })}
            {end < ids.length && <tr key="below" aria-hidden="true" style={{ height: `${(ids.length - end) * ROW_PX}px` }} />}
          </tbody>
        </table>
        {ids.length === 0 && (
          <div class="dk-empty">{table.version === 0 ? "Reading…" : all.length ? "No run matches." : "There are no runs in this folder yet."}</div>
        )}
      </div>
      <Actions rows={sorted(all, order, now).filter((row) => ticked.includes(row.id))} pending={pending} ask={ask} onOpen={open} onClear={() => setTicked([])} />
      <ErrorBox problem={problem} onDismiss={() => ask("dismiss")} />
      {comparison && <Compared found={comparison} onClose={() => ask("uncompare")} />}
    </section>
  );
}

type ActionsProps = {
  rows: { id: string; state: string }[];
  pending: Record<string, unknown>;
  ask: (name: string, rest?: Record<string, unknown>) => void;
  onOpen: (id: string) => void;
  onClear: () => void;
};

function Actions({ rows, pending, ask, onOpen, onClear }: ActionsProps) {
  const free = rows.filter((row) => !(row.id in pending));
  const active = free.filter((row) => ACTIVE.has(row.state));
  const still = free.filter((row) => ["stopped", "failed", "lost", "created"].includes(row.state));
  const count = (found: unknown[]) => (found.length > 1 ? ` ${found.length}` : "");
  const act = (label: string, found: { id: string }[], enabled: boolean, title: string, done: () => void) => (
    <Button aria-disabled={!enabled} title={title} onClick={() => { if (enabled) done(); }}>{label}{count(found)}</Button>
  );
  const each = (name: string, found: { id: string }[]) => () => ask(name, { runs: found.map((row) => row.id) });
  return (
    <div class="rt-actions" role="group" aria-label="What can be done with the ticked runs">
      <span class="dk-muted rt-count" role="status">{rows.length ? `${rows.length} ticked` : "Tick runs to act on them"}</span>
      {act("Open", [], rows.length === 1, "Shows the run", () => onOpen(rows[0]?.id ?? ""))}
      {act("Stop", active, active.length > 0, "Writes a checkpoint and ends; a queued run leaves the queue", each("stop", active))}
      {act("Resume", still, still.length > 0, "Goes on from the newest checkpoint, now", each("resume", still))}
      {act("Queue", still, still.length > 0, "Goes on when its turn comes", each("queue", still))}
      {act("Compare", rows, rows.length > 1, "Scores and settings that differ, side by side", each("compare", rows))}
      {act("Clear", [], rows.length > 0, "Unticks all", onClear)}
    </div>
  );
}

function Slots({ model }: { model: Model }) {
  const ask = useAsk(model);
  const slots = String(useTrait<number | string>(model, "slots"));
  return (
    <label class="rt-slots" title="How many runs of this folder are trained at once; the others wait in the queue">
      train at once
      <select class="dk-input" value={slots} onChange={(event) => ask("slots", { slots: event.currentTarget.value === "fit" ? "fit" : Number(event.currentTarget.value) })}>
        {(SLOTS.includes(slots) ? SLOTS : [slots, ...SLOTS]).map((each) => <option key={each} value={each}>{each === "fit" ? "as many as fit" : each}</option>)}
      </select>
    </label>
  );
}

export default widget(RunsTable);
