// A whole model as one tree: searched, filtered, sorted, compared, opened row by row, down to the source of each class.
import "./model_tree.css";
import { useCallback, useEffect, useMemo, useRef, useState } from "preact/hooks";
import { fittingDepth, kept, openedFor, openedTo, type Order, reveal, shown, type Tree, type Wire } from "../core/model_tree";
import { type ColumnKey, comparison, type Quantity, tellingQuantity } from "../core/model_tree_columns";
import { ComparedTree, type ComparisonWire, nextDifference, treeOf } from "../core/tree_compare";
import { unbroken, whole } from "../core/format";
import { Detail, type Reach } from "../tree/detail";
import { Differences } from "../tree/differences";
import { Grid, type Handle, ROW_PX, SEEN_PX } from "../tree/grid";
import { moved, toggled } from "../tree/keys";
import { type Pulse, PulseStrip } from "../tree/pulse";
import { Tools } from "../tree/tools";
import { ErrorBox } from "../ui/parts";
import { type Model, type Problem, useAsk, useSharedTrait, useTrait, widget } from "../ui/widget";

const FIRST_ROWS = 60;

type About = { headline?: string; before?: string; notes?: string[] } & Partial<Reach>;
type Other = { before: Wire; rows: ComparisonWire };

function ModelTree({ model }: { model: Model }) {
  const ask = useAsk(model);
  const bytes = useTrait<DataView>(model, "tree");
  const other = useTrait<DataView>(model, "other");
  const about = useTrait<About>(model, "about");
  const pulse = useTrait<Pulse | null>(model, "pulse");
  const problem = useTrait<Problem | null>(model, "problem");
  const tree = useMemo(() => (bytes?.byteLength ? treeOf(parsed<Wire>(bytes), other?.byteLength ? parsed<Other>(other) : null) : null), [bytes, other]);
  return (
    <section class="dk-card mt" aria-label={`Model tree${tree ? ` of ${tree.names[0]}` : ""}`}>
      {pulse && <PulseStrip pulse={pulse} />}
      {tree ? <Opened model={model} tree={tree} about={about} pulse={pulse} /> : !pulse && <div class="dk-empty">No model yet.</div>}
      <ErrorBox problem={problem} onDismiss={() => ask("dismiss")} />
    </section>
  );
}

function Opened({ model, tree, about, pulse }: { model: Model; tree: Tree; about: About; pulse: Pulse | null }) {
  const [selected, setSelected] = useSharedTrait<string | null>(model, "selected");
  const rates = useTrait<DataView>(model, "rates");
  const [filter, setFilter] = useState({ search: "", spiking: false, trainable: false, differing: false });
  const [order, setOrder] = useState<Order<ColumnKey>>(null);
  const [focused, setFocused] = useState(0);
  const [turn, setTurn] = useState(0);
  const handle = useRef<Handle | null>(null);
  const compared = tree instanceof ComparedTree ? tree : null;
  const [picked, setOf] = useState<Quantity | null>(null);
  const of = useMemo(() => compared && (picked ?? tellingQuantity(compared)), [compared, picked]);

  useMemo(() => tree.fireAt(rates?.byteLength ? new Float32Array(rates.buffer.slice(rates.byteOffset, rates.byteOffset + rates.byteLength)) : null), [tree, rates]);
  const usual = useMemo(() => startOf(tree), [tree]);
  const marks = useMemo(() => kept(tree, filter), [tree, filter]);
  const open = useMemo(() => (marks ? openedFor(tree, marks) : usual), [tree, marks, usual]);
  const compare = useMemo(() => comparison(tree, order, of), [tree, order, of]);
  const rows = useMemo(() => shown(tree, open, marks, compare), [tree, open, marks, compare, turn]);
  const found = useMemo(() => (marks ? marks.reduce((sum, mark) => sum + Number(mark === 2), 0) : null), [marks]);
  const chosen = tree.row(selected);
  const here = useMemo(() => (rows.includes(focused) ? focused : rows[0] ?? 0), [rows, focused]);

  const changed = useCallback(() => setTurn((before) => before + 1), []);
  const focus = (row: number) => {
    handle.current?.take();
    setFocused(row);
    changed(); // draws again, also where the row has not changed
    const at = shown(tree, open, marks, compare).indexOf(row); // what was just opened counts
    if (at >= 0) handle.current?.show(at);
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
  const difference = (way: 1 | -1) => compared && choose(nextDifference(compared, chosen < 0 ? here : chosen, way));
  const typed = (event: KeyboardEvent) => {
    const step = moved(event.key, { tree, open, marks, rows, here, page: Math.floor(SEEN_PX / ROW_PX) - 2 });
    if (step !== null) focus(step);
    else if (event.key === "Enter") choose(here);
    else if (event.key === " ") toggle(here);
    else if (event.key === "Escape" && selected !== null) setSelected(null);
    else if (compared && (event.key === "n" || event.key === "p")) difference(event.key === "n" ? 1 : -1);
    else return;
    event.preventDefault();
  };
  // A module chosen elsewhere comes into sight; one that was clicked is there already.
  useEffect(() => {
    if (chosen < 0) return;
    reveal(tree, usual, chosen);
    changed();
    const at = shown(tree, open, marks, compare).indexOf(chosen);
    if (at >= 0) handle.current?.show(at, SEEN_PX / 3);
  }, [tree, chosen]);
  const showTo = (depth: number) => { open.set(openedTo(tree, depth)); changed(); };
  const reach: Reach = { live: about.live ?? [], probes: about.probes ?? false };
  const { problem, failed } = tree.wire;

  return (
    <>
      {about.before && <p class="mt-headline" title={about.before}><span class="mt-which">before</span>{unbroken(about.before)}</p>}
      <p class="mt-headline" title={about.headline}>{about.before && <span class="mt-which">after</span>}{unbroken(about.headline ?? "")}</p>
      {problem && (
        <p class="mt-failed" role="alert">
          ✗ The forward failed{failed !== null && (
            <> in <button type="button" class="mt-link" onClick={() => setSelected(failed)}>{failed || tree.names[0]}</button></>
          )}: {problem}
        </p>
      )}
      {compared && of && <Differences tree={compared} chosen={chosen} filter={filter} of={of} onFilter={setFilter} onOf={setOf} onGo={choose} />}
      <Tools tree={tree} filter={filter} count={found} onFilter={setFilter} onDepth={showTo} onDown={() => rows.length && focus(rows[0] as number)} />
      <Grid tree={tree} rows={rows} open={open} marks={marks} searched={filter.search.trim() !== ""} of={of} order={order} chosen={chosen} here={here} beat={pulse?.measured ?? null} turn={turn} handle={handle}
        onOrder={setOrder} onChoose={choose} onToggle={toggle} onKey={typed} />
      {chosen >= 0
        ? <Detail key={chosen} model={model} tree={tree} row={chosen} reach={reach} measured={pulse?.measured ?? null} onChoose={setSelected} />
        : <p class="dk-muted mt-hint">{whole(tree.count)} modules. Choose one to see its shapes, spikes, parameters, source and dataflow. Bars compare the rows of one level.</p>}
      {about.notes?.map((note) => <p key={note} class="dk-muted mt-note">{note}</p>)}
    </>
  );
}

const parsed = <T,>(bytes: DataView) => JSON.parse(new TextDecoder().decode(bytes)) as T;

/** What is open at first: as many levels as fit, and the way to what failed. */
function startOf(tree: Tree): Uint8Array {
  const open = openedTo(tree, fittingDepth(tree, FIRST_ROWS));
  reveal(tree, open, tree.row(tree.wire.failed));
  return open;
}

export default widget(ModelTree);
