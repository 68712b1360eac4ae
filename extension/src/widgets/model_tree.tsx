// A whole model as one tree: searched, filtered, sorted, opened row by row, down to the source of each class.
import "./model_tree.css";
import { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { fittingDepth, kept, openedFor, openedTo, type Order, reveal, seats, shown, Tree, type Wire } from "../core/model_tree";
import { type ColumnKey, columnsOf, comparison, fitting, levels, NAME, nextOrder } from "../core/model_tree_columns";
import { windowed } from "../core/run_rows";
import { whole } from "../core/format";
import { Detail } from "../tree/detail";
import { moved, toggled } from "../tree/keys";
import { TreeRow } from "../tree/row";
import { Tools } from "../tree/tools";
import { ErrorBox } from "../ui/parts";
import { type Model, type Problem, useAsk, useSharedTrait, useTrait, widget } from "../ui/widget";

const ROW_PX = 26;
const SEEN_PX = 430;
const FIRST_ROWS = 60;

type About = { headline?: string; notes?: string[]; live?: boolean };

function ModelTree({ model }: { model: Model }) {
  const ask = useAsk(model);
  const bytes = useTrait<DataView>(model, "tree");
  const about = useTrait<About>(model, "about");
  const problem = useTrait<Problem | null>(model, "problem");
  const tree = useMemo(() => (bytes?.byteLength ? new Tree(JSON.parse(new TextDecoder().decode(bytes)) as Wire) : null), [bytes]);
  return (
    <section class="dk-card mt" aria-label={`Model tree${tree ? ` of ${tree.wire.model}` : ""}`}>
      {tree ? <Opened model={model} tree={tree} about={about} /> : <div class="dk-empty">No model yet.</div>}
      <ErrorBox problem={problem} onDismiss={() => ask("dismiss")} />
    </section>
  );
}

function Opened({ model, tree, about }: { model: Model; tree: Tree; about: About }) {
  const [selected, setSelected] = useSharedTrait<string | null>(model, "selected");
  const [filter, setFilter] = useState({ search: "", spiking: false, trainable: false });
  const [order, setOrder] = useState<Order<ColumnKey>>(null);
  const [focused, setFocused] = useState(0);
  const [turn, setTurn] = useState(0);
  const box = useRef<HTMLDivElement>(null);
  const width = useWidth(box);
  const [top, setTop] = useState(0);
  const toFocus = useRef(false);
  const seated = useRef<{ rows: Int32Array | null; seats: Map<number, number> }>({ rows: null, seats: new Map() });

  const usual = useMemo(() => startOf(tree), [tree]);
  const marks = useMemo(() => kept(tree, filter), [tree, filter]);
  const open = useMemo(() => (marks ? openedFor(tree, marks) : usual), [tree, marks, usual]);
  const compare = useMemo(() => comparison(tree, order), [tree, order]);
  const rows = useMemo(() => shown(tree, open, marks, compare), [tree, open, marks, compare, turn]);
  const found = useMemo(() => (marks ? marks.reduce((sum, mark) => sum + Number(mark === 2), 0) : null), [marks]);
  const columns = useMemo(() => fitting(columnsOf(tree), width), [tree, width]);
  const most = useMemo(() => new Map(columns.filter((column) => column.heat).map(({ key }) => [key, levels(tree, key)])), [tree, columns]);
  const chosen = tree.row(selected);
  const here = rows.includes(focused) ? focused : rows[0] ?? 0;

  const changed = useCallback(() => setTurn((before) => before + 1), []);
  const scrollTo = useCallback((at: number, around = 0) => {
    const seen = box.current as HTMLDivElement;
    const bottom = (at + 2) * ROW_PX; // the titles take the height of a row
    if (at * ROW_PX < seen.scrollTop) seen.scrollTop = at * ROW_PX - around;
    else if (bottom > seen.scrollTop + seen.clientHeight) seen.scrollTop = bottom - seen.clientHeight + around;
    setTop(seen.scrollTop);
  }, []);
  const focus = (row: number) => {
    toFocus.current = true;
    setFocused(row);
    changed(); // draws again, also where the row has not changed
    const at = shown(tree, open, marks, compare).indexOf(row); // what was just opened counts
    if (at >= 0) scrollTo(at);
  };
  const choose = (row: number) => {
    setFocused(row);
    setSelected(tree.paths[row] as string);
  };
  const toggle = (row: number) => {
    toggled(tree, open, row);
    setFocused(row);
    changed();
  };
  const typed = (event: KeyboardEvent) => {
    const step = moved(event.key, { tree, open, marks, rows, here, page: Math.floor(SEEN_PX / ROW_PX) - 2 });
    if (step !== null) focus(step);
    else if (event.key === "Enter") choose(here);
    else if (event.key === " ") toggle(here);
    else if (event.key === "Escape" && selected !== null) setSelected(null);
    else return;
    event.preventDefault();
  };
  // A module chosen elsewhere comes into sight; one that was clicked is there already.
  useEffect(() => {
    if (chosen < 0) return;
    reveal(tree, usual, chosen);
    changed();
    const at = shown(tree, open, marks, compare).indexOf(chosen);
    if (at >= 0) scrollTo(at, SEEN_PX / 3);
  }, [tree, chosen]);
  useLayoutEffect(() => {
    const held = box.current?.querySelector<HTMLElement>(".mt-row:focus");
    if (!toFocus.current && (!held || held.tabIndex === 0)) return;
    toFocus.current = false;
    box.current?.querySelector<HTMLElement>('[role="row"][tabindex="0"]')?.focus({ preventScroll: true });
  });

  const [first, end] = windowed(rows.length, top, SEEN_PX, ROW_PX);
  const drawn = [...rows.subarray(first, end)].map((row, at) => [row, first + at] as const);
  const tabStop = rows.indexOf(here);
  if (rows.length && (tabStop < first || tabStop >= end)) drawn.push([here, tabStop]); // keeps the keyboard where it is
  // Scrolling gives elements to other rows; when the rows themselves change, the elements are in their order again.
  seated.current = { rows, seats: seats(seated.current.rows === rows ? seated.current.seats : new Map(), drawn.map(([row]) => row)) };
  const seat = (row: number) => seated.current.seats.get(row) as number;
  drawn.sort(([a], [b]) => seat(a) - seat(b));
  const grid = { gridTemplateColumns: `minmax(0, 1fr) ${columns.map((column) => `${column.px}px`).join(" ")}` };
  const showTo = (depth: number) => { open.set(openedTo(tree, depth)); changed(); };

  return (
    <>
      <p class="mt-headline" title={about.headline}>{about.headline}</p>
      {tree.wire.problem && (
        <p class="mt-failed" role="alert">
          ✗ The forward failed{tree.wire.failed !== null && (
            <> in <button type="button" class="mt-link" onClick={() => setSelected(tree.wire.failed)}>{tree.wire.failed || tree.wire.model}</button></>
          )}: {tree.wire.problem}
        </p>
      )}
      <Tools tree={tree} filter={filter} count={found} onFilter={setFilter} onDepth={showTo} onDown={() => rows.length && focus(rows[0] as number)} />
      <div class="mt-scroll" ref={box} onScroll={(event) => setTop(event.currentTarget.scrollTop)}>
        <div role="treegrid" aria-label={`Modules of ${tree.wire.model}`} aria-rowcount={rows.length + 1} onKeyDown={typed}>
          <div class="mt-row mt-head" role="row" aria-rowindex={1} style={grid}>
            {[NAME, ...columns].map((column) => (
              <span key={column.key} role="columnheader" data-number={column.number || undefined}
                aria-sort={order?.column === column.key ? (order.down ? "descending" : "ascending") : "none"}>
                <button type="button" class="mt-sort" title={column.help} onClick={() => setOrder(nextOrder(order, column))}>
                  {column.title}<i aria-hidden="true">{order?.column === column.key ? (order.down ? "▾" : "▴") : ""}</i>
                </button>
              </span>
            ))}
          </div>
          <div class="mt-body" role="rowgroup" style={{ height: `${rows.length * ROW_PX}px` }}>
            {drawn.map(([row, at]) => (
              <TreeRow key={seat(row)} tree={tree} row={row} columns={columns} most={most} open={Boolean(open[row])} found={marks?.[row] === 2}
                opens={tree.opens(row) && (!marks || marks.subarray(row + 1, tree.end[row]).some(Boolean))}
                current={row === chosen} tabStop={row === here} index={at + 2} style={{ ...grid, top: `${at * ROW_PX}px` }} onChoose={choose} onToggle={toggle} />
            ))}
          </div>
        </div>
        {!rows.length && <div class="dk-empty">No module matches.</div>}
      </div>
      {chosen >= 0
        ? <Detail key={chosen} model={model} tree={tree} row={chosen} live={about.live ?? false} onChoose={setSelected} />
        : <p class="dk-muted mt-hint">{whole(tree.count)} modules. Choose one to see its shapes, spikes, source and dataflow. Bars compare the rows of one level.</p>}
      {about.notes?.map((note) => <p key={note} class="dk-muted mt-note">{note}</p>)}
    </>
  );
}

/** What is open at first: as many levels as fit, and the way to what failed. */
function startOf(tree: Tree): Uint8Array {
  const open = openedTo(tree, fittingDepth(tree, FIRST_ROWS));
  reveal(tree, open, tree.row(tree.wire.failed));
  return open;
}

/** Width inside an element. */
function useWidth(box: { current: HTMLElement | null }): number {
  const [width, setWidth] = useState(900);
  useLayoutEffect(() => {
    const seen = box.current as HTMLElement;
    const observer = new ResizeObserver(() => setWidth(seen.clientWidth));
    observer.observe(seen);
    setWidth(seen.clientWidth || 900);
    return () => observer.disconnect();
  }, []);
  return width;
}

export default widget(ModelTree);
