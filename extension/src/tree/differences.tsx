// How two traces differ at large, which differences are shown, and the way from one to the next.
import { useMemo } from "preact/hooks";
import { whole } from "../core/format";
import type { Filter } from "../core/model_tree";
import { COMPARED, columnsOf, type Quantity } from "../core/model_tree_columns";
import { type ComparedTree, nextDifference, placeOf, type State, SYMBOLS } from "../core/tree_compare";
import { Button } from "../ui/parts";

type Props = {
  tree: ComparedTree;
  chosen: number;
  filter: Filter;
  of: Quantity;
  onFilter: (filter: Filter) => void;
  onOf: (of: Quantity) => void;
  onGo: (row: number) => void;
};

const rank = (key: string) => { const at = COMPARED.findIndex(([quantity]) => quantity === key); return at < 0 ? COMPARED.length : at; };
const TOLD: [State, string][] = [["changed", "changed"], ["affected", "firing differently"], ["new", "new"], ["gone", "gone"]];

export function Differences({ tree, chosen, filter, of, onFilter, onOf, onGo }: Props) {
  const counts = tree.counts;
  const all = TOLD.reduce((sum, [state]) => sum + counts[state], 0);
  const place = chosen < 0 ? 0 : placeOf(tree, chosen);
  const go = (way: 1 | -1) => onGo(nextDifference(tree, chosen < 0 ? (way > 0 ? -1 : tree.count) : chosen, way));
  const offered = useMemo(() => columnsOf(tree).sort((a, b) => rank(a.key) - rank(b.key)), [tree]);
  return (
    <div class="mt-tools mt-differences">
      {TOLD.map(([state, word]) => <span key={state} class="mt-count-of" data-state={counts[state] ? state : undefined}><b aria-hidden="true">{SYMBOLS[state]}</b> {whole(counts[state])} {word}</span>)}
      <button type="button" class="dk-button mt-only" aria-pressed={filter.differing} title="Only modules that differ, and what is around them" disabled={!all}
        onClick={() => onFilter({ ...filter, differing: !filter.differing })}>only differences</button>
      <span class="mt-steps">
        <Button aria-label="Previous difference" title="Previous difference (p)" disabled={!all} onClick={() => go(-1)}>▴</Button>
        <span class="dk-muted" role="status">{all ? `${place ? whole(place) : "–"} of ${whole(all)}` : "no difference"}</span>
        <Button aria-label="Next difference" title="Next difference (n)" disabled={!all} onClick={() => go(1)}>▾</Button>
      </span>
      <span class="dk-grow" />
      <label class="mt-of"><span class="dk-muted">compare</span>
        <select class="dk-input" aria-label="Quantity that is compared" value={of} onChange={(event) => onOf(event.currentTarget.value as Quantity)}>
          {offered.map((column) => <option key={column.key} value={column.key}>{column.title}</option>)}
        </select>
      </label>
    </div>
  );
}
