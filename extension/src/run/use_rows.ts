// Rows of runs as Python sends them: the whole once, then only what changed.
import { useCallback, useEffect, useMemo, useState } from "preact/hooks";
import { type Change, merged, type Row, type Table } from "../core/run_rows";
import { type Model, useAsk, useMessages } from "../ui/widget";

type Whole = { version: number; rows: Row[]; now: number };
type Known = Table & { now: number };

const known = ({ version, rows, now }: Whole): Known => ({ version, now, rows: new Map(rows.map((row) => [row.id, row])) });

/** The table as far as it is known; version 0 means that Python has not looked yet. */
export function useRows(model: Model): Known {
  const ask = useAsk(model);
  const view = useMemo(() => Math.random().toString(36).slice(2), []);
  const [table, setTable] = useState<Known>(() => known(model.get("rows") as Whole));
  const heard = useCallback((message: Record<string, unknown>) => {
    const whole = message.whole as (Whole & { view: string }) | undefined;
    if (whole?.view === view) setTable((before) => (whole.version < before.version ? before : known(whole)));
    const change = message.rows as (Change & { now: number }) | undefined;
    if (change) {
      setTable((before) => {
        const next = merged(before, change);
        if (!next) ask("rows", { view });
        return next && next !== before ? { ...next, now: change.now } : before;
      });
    }
  }, [ask, view]);
  useMessages(model, heard);
  useEffect(() => ask("rows", { view }), [ask, view]);
  return table;
}
