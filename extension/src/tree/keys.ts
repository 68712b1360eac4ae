// Where the keys of an ARIA treegrid lead.
import { children, type Tree } from "../core/model_tree";

export type Place = { tree: Tree; open: Uint8Array; marks: Uint8Array | null; rows: Int32Array; here: number; page: number };

/** The row a key leads to, once what it opens or closes is; null for a key that does not move. */
export function moved(key: string, { tree, open, marks, rows, here, page }: Place): number | null {
  const at = rows.indexOf(here);
  const to = (place: number) => rows[Math.min(rows.length - 1, Math.max(0, place))] as number;
  const opens = tree.opens(here) && (!marks || marks.subarray(here + 1, tree.end[here]).some(Boolean));
  switch (key) {
    case "ArrowDown": return to(at + 1);
    case "ArrowUp": return to(at - 1);
    case "Home": return to(0);
    case "End": return to(rows.length - 1);
    case "PageDown": return to(at + page);
    case "PageUp": return to(at - page);
    case "ArrowRight":
      if (opens && !open[here]) return toggled(tree, open, here);
      return to(opens ? at + 1 : at);
    case "ArrowLeft":
      if (opens && open[here]) return toggled(tree, open, here);
      return Math.max(0, tree.parent[here] as number);
    case "*":
      for (const row of siblings(tree, here)) open[row] = Number(tree.opens(row));
      return here;
    default: return null;
  }
}

/** Opens or closes a row. */
export function toggled(tree: Tree, open: Uint8Array, row: number): number {
  open[row] = Number(!open[row] && tree.opens(row));
  return row;
}

function siblings(tree: Tree, row: number): number[] {
  return row === 0 ? [0] : children(tree, tree.parent[row] as number);
}
