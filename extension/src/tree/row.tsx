// One row of the tree.
import type { Tree } from "../core/model_tree";
import { cell, type Column, type ColumnKey, calls, value } from "../core/model_tree_columns";

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
  style: Record<string, string>;
  onChoose: (row: number) => void;
  onToggle: (row: number) => void;
};

export function TreeRow({ tree, row, columns, most, open, opens, found, current, tabStop, index, style, onChoose, onToggle }: Props) {
  const depth = tree.depth[row] as number;
  const problem = tree.other("problem", row) as string | null;
  const ran = (tree.numbers("calls")[row] as number) > 0 || tree.text("kind", row) === "container";
  const look = problem ? "failed" : tree.fires(row) ? "spiking" : ran ? undefined : "idle";
  const has = (key: ColumnKey) => columns.some((column) => column.key === key);
  const repeated = calls(tree, row);
  return (
    <div class="mt-row" role="row" tabIndex={tabStop ? 0 : -1} aria-level={depth + 1} aria-expanded={opens ? open : undefined} aria-selected={current}
      aria-rowindex={index} data-path={tree.paths[row]} data-look={look} data-found={found || undefined} style={style}
      onClick={() => onChoose(row)} onDblClick={() => opens && onToggle(row)}>
      <span class="mt-name" role="gridcell" title={problem ?? (tree.paths[row] || tree.wire.model)} style={{ paddingLeft: `${4 + Math.min(depth, 12) * 14}px` }}>
        <span class="mt-twist" aria-hidden="true" data-open={open} onClick={(event) => { if (opens) { event.stopPropagation(); onToggle(row); } }}>{opens ? "▸" : ""}</span>
        <span class="mt-label">{problem ? "✗ " : ""}{tree.names[row]}</span>
        {!has("class") && row > 0 && <span class="mt-class">{tree.text("class_name", row)}</span>}
        {!has("calls") && repeated > 1 && <span class="mt-badge">×{repeated}</span>}
      </span>
      {columns.map((column) => {
        const text = cell(tree, column.key, row);
        return (
          <span key={column.key} role="gridcell" class={column.key === "class" ? "mt-class" : undefined} data-number={column.number || undefined} title={column.number ? undefined : text} data-column={column.key}>
            {column.heat && <Bar share={value(tree, column.key, row) / (most.get(column.key)?.[depth] || Number.POSITIVE_INFINITY)} />}
            <span>{text}</span>
          </span>
        );
      })}
    </div>
  );
}

function Bar({ share }: { share: number }) {
  return <i class="mt-bar" aria-hidden="true" style={{ width: share > 0 ? `${(100 * Math.min(1, share)).toFixed(1)}%` : "0" }} />;
}
