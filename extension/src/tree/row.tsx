// One row of the tree.
import type { Tree } from "../core/model_tree";
import { calls, cell, className, type Column, COMPARED, type ColumnKey, value } from "../core/model_tree_columns";
import { ComparedTree, inside, type State, SYMBOLS, WORDS } from "../core/tree_compare";

type Props = {
  tree: Tree;
  row: number;
  columns: readonly Column[];
  most: Map<ColumnKey, Float64Array>;
  open: boolean;
  opens: boolean;
  found: boolean;
  current: boolean;
  tabStop: boolean;
  index: number;
  beat: number | null;
  style: Record<string, string>;
  onChoose: (row: number) => void;
  onToggle: (row: number) => void;
};

const FIELD_OF = new Map<ColumnKey, string>(COMPARED);

export function TreeRow({ tree, row, columns, most, open, opens, found, current, tabStop, index, beat, style, onChoose, onToggle }: Props) {
  const depth = tree.depth[row] as number;
  const problem = tree.other("problem", row) as string | null;
  const ran = (tree.numbers("calls")[row] as number) > 0 || tree.text("kind", row) === "container";
  const look = problem ? "failed" : tree.fires(row) ? "spiking" : ran ? undefined : "idle";
  const has = (key: ColumnKey) => columns.some((column) => column.key === key || column.of === key);
  const repeated = calls(tree, row);
  const compared = tree instanceof ComparedTree ? tree : null;
  const state = compared?.state(row);
  const below = compared?.below(row) ?? 0;
  return (
    <div class="mt-row" role="row" tabIndex={tabStop ? 0 : -1} aria-level={depth + 1} aria-expanded={opens ? open : undefined} aria-selected={current}
      aria-rowindex={index} data-path={tree.paths[row]} data-look={look} data-state={state === "same" ? undefined : state} data-found={found || undefined} style={style}
      onClick={() => onChoose(row)} onDblClick={() => opens && onToggle(row)}>
      <span class="mt-name" role="gridcell" title={problem ?? (tree.paths[row] || tree.names[0])} style={{ paddingLeft: `${4 + Math.min(depth, 12) * 14}px` }}>
        {state && <span class="mt-state" title={told(state, below)}>{SYMBOLS[state] || (below ? "·" : "")}</span>}
        <span class="mt-twist" aria-hidden="true" data-open={open} onClick={(event) => { if (opens) { event.stopPropagation(); onToggle(row); } }}>{opens ? "▸" : ""}</span>
        {beat !== null && look === "spiking" && <Beat beat={beat} rate={tree.numbers("firing")[row] as number} />}
        <span class="mt-label">{problem ? "✗ " : ""}{tree.names[row]}</span>
        {!has("class") && row > 0 && <span class="mt-class">{className(tree, row)}</span>}
        {!has("calls") && repeated > 1 && <span class="mt-badge">×{repeated}</span>}
      </span>
      {columns.map((column) => {
        const { key, of = null } = column;
        const text = cell(tree, key, row, of);
        const differs = key !== "ratio" && compared?.differs(FIELD_OF.get(of ?? key) ?? "", row);
        return (
          <span key={key} role="gridcell" class={key === "class" ? "mt-class" : undefined} data-number={column.number || undefined} title={column.number ? undefined : text}
            data-column={of ?? key} data-side={of ? key : undefined} data-differs={differs || undefined}>
            {key === "ratio" && <Balance ratio={value(tree, key, row, of)} />}
            {column.heat && <Bar share={value(tree, key, row, of) / (most.get(key)?.[depth] || Number.POSITIVE_INFINITY)} />}
            <span>{text}</span>
          </span>
        );
      })}
    </div>
  );
}

/** A state in words, with what differs inside. */
function told(state: State, below: number): string {
  if (!below) return WORDS[state];
  return state === "same" ? inside(below) : `${WORDS[state]}, and ${inside(below)}`;
}

/** A dot that beats once whenever the run has measured its spikes; the more a module fires, the stronger it is. */
function Beat({ beat, rate }: { beat: number; rate: number }) {
  return <i class="mt-beat" aria-hidden="true" data-turn={beat % 2} style={{ opacity: Number.isNaN(rate) ? 0.15 : 0.25 + 0.75 * Math.min(1, rate) }} />;
}

function Bar({ share }: { share: number }) {
  return <i class="mt-bar" aria-hidden="true" style={{ width: share > 0 ? `${(100 * Math.min(1, share)).toFixed(1)}%` : "0" }} />;
}

const FAR = 5; // doublings that fill half the cell

/** Less to the left, more to the right, in doublings. */
function Balance({ ratio }: { ratio: number }) {
  const doublings = Math.max(-FAR, Math.min(FAR, Math.log2(ratio)));
  const share = Number.isNaN(doublings) ? 0 : (50 * Math.abs(doublings)) / FAR;
  return <i class="mt-balance" aria-hidden="true" data-more={doublings > 0 || undefined} style={{ width: `${share.toFixed(1)}%`, [doublings > 0 ? "left" : "right"]: "50%", [doublings > 0 ? "right" : "left"]: "auto" }} />;
}
