// The traffic of edits between a view and the kernel.
import { useCallback, useEffect, useMemo, useRef, useState } from "preact/hooks";
import { Edits, type Edit, type FormState, freshId } from "../core/config_form";

const SEND_AFTER_MS = 60;
type Ask = (name: string, rest?: Record<string, unknown>, buffers?: ArrayBuffer[]) => void;

/** What is shown and what is sent; `act` sends pending edits first, so that the kernel acts on what is seen. */
export function useEdits(state: FormState, ask: Ask) {
  const edits = useMemo(() => new Edits(), []);
  const client = useMemo(freshId, []);
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  const [, redraw] = useState(0);

  const flush = useCallback(() => {
    clearTimeout(timer.current);
    const taken = edits.take();
    if (taken) ask("write", { edits: taken.edits, client, edit: taken.number });
  }, [ask]);

  const write = useCallback((edit: Edit) => {
    edits.write(edit);
    redraw((count) => count + 1);
    clearTimeout(timer.current);
    timer.current = setTimeout(flush, SEND_AFTER_MS);
  }, [flush]);

  const act = useCallback<Ask>((name, rest, buffers) => {
    flush();
    ask(name, rest, buffers);
  }, [ask, flush]);

  // In the same draw as the new state: a value must not flash back in between.
  edits.settle(state.seen[client] ?? 0);
  useEffect(() => flush, []);

  return {
    write,
    act,
    text: (key: string) => edits.text(key, state),
    isOff: (section: string) => edits.isOff(section, state),
  };
}
