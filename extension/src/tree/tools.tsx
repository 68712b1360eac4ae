// Search, filters, and how far the tree is open.
import { whole } from "../core/format";
import type { Filter, Tree } from "../core/model_tree";
import { Button } from "../ui/parts";

type Props = { tree: Tree; filter: Filter; count: number | null; onFilter: (filter: Filter) => void; onDepth: (depth: number) => void; onDown: () => void };

export function Tools({ tree, filter, count, onFilter, onDepth, onDown }: Props) {
  const only = (name: "spiking" | "trainable", help: string) => (
    <button type="button" class="dk-button mt-only" aria-pressed={filter[name]} title={help} onClick={() => onFilter({ ...filter, [name]: !filter[name] })}>{name}</button>
  );
  return (
    <div class="mt-tools">
      <input class="dk-input mt-search" type="search" placeholder="Name, class or shape" aria-label="Search modules by name, class or shape" value={filter.search}
        onInput={(event) => onFilter({ ...filter, search: event.currentTarget.value })}
        onKeyDown={(event) => { if (event.key === "Escape") onFilter({ ...filter, search: "" }); if (event.key === "ArrowDown") { event.preventDefault(); onDown(); } }} />
      {only("spiking", "Only what fires")}
      {only("trainable", "Only what holds parameters that take a gradient")}
      <span class="dk-muted mt-count" role="status">{count === null ? "" : `${whole(count)} found`}</span>
      <select class="dk-input mt-depth" aria-label="Open to a depth" value="" onChange={(event) => { onDepth(Number(event.currentTarget.value)); event.currentTarget.value = ""; }}>
        <option value="" disabled>depth…</option>
        {Array.from({ length: tree.deepest }, (_, at) => <option key={at} value={String(at + 1)}>{at + 1} deep</option>)}
      </select>
      <Button onClick={() => onDepth(tree.deepest)} title="Open every row">Expand all</Button>
      <Button onClick={() => onDepth(0)} title="Close every row">Collapse all</Button>
    </div>
  );
}
