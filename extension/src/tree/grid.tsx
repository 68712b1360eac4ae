// The rows of the tree under their titles: only those in sight are drawn, and scrolling draws nothing else again.
import { useCallback, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { type Order, seats, type Tree } from "../core/model_tree";
import { type Column, type ColumnKey, columnsOf, comparedColumns, fitting, levels, NAME, nextOrder, type Quantity } from "../core/model_tree_columns";
import { windowed } from "../core/run_rows";
import { TreeRow } from "./row";

export const ROW_PX = 26;
export const SEEN_PX = 430;
const COMPARED_NAME_PX = 280; // what it was and what it is, side by side

/** What the tree around asks of its rows. */
export type Handle = { show: (at: number, around?: number) => void; take: () => void };

type Props = {
  tree: Tree;
  rows: Int32Array;
  open: Uint8Array;
  marks: Uint8Array | null;
  searched: boolean;
  of: Quantity | null;
  order: Order<ColumnKey>;
  chosen: number;
  here: number;
  beat: number | null;
  turn: number;
  handle: { current: Handle | null };
  onOrder: (order: Order<ColumnKey>) => void;
  onChoose: (row: number) => void;
  onToggle: (row: number) => void;
  onKey: (event: KeyboardEvent) => void;
};

export function Grid({ tree, rows, open, marks, searched, of, order, chosen, here, beat, turn, handle, onOrder, onChoose, onToggle, onKey }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const width = useWidth(box);
  const [top, setTop] = useState(0);
  const toFocus = useRef(false);
  const seated = useRef<{ rows: Int32Array | null; seats: Map<number, number> }>({ rows: null, seats: new Map() });
  const columns = useMemo(() => columnsFor(tree, of, width), [tree, of, width]);
  const most = useMemo(() => new Map(columns.filter((column) => column.heat).map((column) => [column.key, levels(tree, column.key, column.of ?? null)])), [tree, columns]);
  const tabStop = useMemo(() => rows.indexOf(here), [rows, here]);

  const show = useCallback((at: number, around = 0) => {
    const seen = box.current as HTMLDivElement;
    const bottom = (at + 2) * ROW_PX; // the titles take the height of a row
    if (at * ROW_PX < seen.scrollTop) seen.scrollTop = at * ROW_PX - around;
    else if (bottom > seen.scrollTop + seen.clientHeight) seen.scrollTop = bottom - seen.clientHeight + around;
    setTop(seen.scrollTop);
  }, []);
  handle.current = { show, take: () => { toFocus.current = true; } };
  useLayoutEffect(() => {
    const held = box.current?.querySelector<HTMLElement>(".mt-row:focus");
    if (!toFocus.current && (!held || held.tabIndex === 0)) return;
    toFocus.current = false;
    box.current?.querySelector<HTMLElement>('[role="row"][tabindex="0"]')?.focus({ preventScroll: true });
  }, [top, rows, here, turn]);

  const [first, end] = windowed(rows.length, top, SEEN_PX, ROW_PX);
  const drawn = [...rows.subarray(first, end)].map((row, at) => [row, first + at] as const);
  if (rows.length && (tabStop < first || tabStop >= end)) drawn.push([here, tabStop]); // keeps the keyboard where it is
  // Scrolling gives elements to other rows; when the rows themselves change, the elements are in their order again.
  seated.current = { rows, seats: seats(seated.current.rows === rows ? seated.current.seats : new Map(), drawn.map(([row]) => row)) };
  const seat = (row: number) => seated.current.seats.get(row) as number;
  drawn.sort(([a], [b]) => seat(a) - seat(b));
  const grid = { gridTemplateColumns: `minmax(0, 1fr) ${columns.map((column) => `${column.px}px`).join(" ")}` };

  return (
    <div class="mt-scroll" data-searched={searched || undefined} ref={box} onScroll={(event) => setTop(event.currentTarget.scrollTop)}>
      <div role="treegrid" aria-label={`Modules of ${tree.names[0]}`} aria-rowcount={rows.length + 1} onKeyDown={onKey}>
        <div class="mt-row mt-head" role="row" aria-rowindex={1} style={grid}>
          {[NAME, ...columns].map((column) => (
            <span key={column.key} role="columnheader" data-number={column.number || undefined}
              aria-sort={order?.column === column.key ? (order.down ? "descending" : "ascending") : "none"}>
              <button type="button" class="mt-sort" title={column.help} onClick={() => onOrder(nextOrder(order, column))}>
                {column.title}<i aria-hidden="true">{order?.column === column.key ? (order.down ? "▾" : "▴") : ""}</i>
              </button>
            </span>
          ))}
        </div>
        <div class="mt-body" role="rowgroup" style={{ height: `${rows.length * ROW_PX}px` }}>
          {drawn.map(([row, at]) => (
            <TreeRow key={seat(row)} tree={tree} row={row} columns={columns} most={most} open={Boolean(open[row])} found={marks?.[row] === 2}
              opens={tree.opens(row) && (!marks || marks.subarray(row + 1, tree.end[row]).some(Boolean))} beat={beat}
              current={row === chosen} tabStop={row === here} index={at + 2} style={{ ...grid, top: `${at * ROW_PX}px` }} onChoose={onChoose} onToggle={onToggle} />
          ))}
        </div>
      </div>
      {!rows.length && <div class="dk-empty">No module matches.</div>}
    </div>
  );
}

/** What fits; where two traces are compared, the quantity before and after comes first. */
function columnsFor(tree: Tree, of: Quantity | null, width: number): Column[] {
  const all = columnsOf(tree);
  if (!of) return fitting(all, width);
  return fitting([...comparedColumns(of), ...all.filter((column) => column.key !== of)], width, width < 640 ? NAME.px : COMPARED_NAME_PX);
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
