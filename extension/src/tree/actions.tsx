// What others offer to do with a module. A page that knows how takes the event; otherwise the kernel is asked.
import { useCallback, useRef, useState } from "preact/hooks";
import { askForCell } from "../core/new_cell";
import { Button, copyText } from "../ui/parts";
import { type Model, useAsk, useMessages, useTrait } from "../ui/widget";

type Action = { name: string; label: string; help?: string };
type Props = { model: Model; module: { path: string; class_name: string; module: string } };

export function Actions({ model, module }: Props) {
  const ask = useAsk(model);
  const actions = useTrait<Action[]>(model, "actions");
  const root = useRef<HTMLSpanElement>(null);
  const [told, setTold] = useState("");
  useMessages(model, useCallback((message: Record<string, unknown>) => {
    const text = message["insert_cell"];
    if (typeof text !== "string" || !root.current || askForCell(root.current, text)) return;
    void copyText(text).then(() => { setTold("Copied; paste it into a cell"); setTimeout(() => setTold(""), 3000); });
  }, []));
  if (!actions.length) return null;
  const act = (name: string) => {
    const event = new CustomEvent(`darkit:${name}`, { bubbles: true, composed: true, cancelable: true, detail: module });
    if (root.current?.dispatchEvent(event)) ask(name.replaceAll("-", "_"), { path: module.path });
  };
  return (
    <span class="mt-actions" ref={root}>
      {actions.map(({ name, label, help }) => <Button key={name} title={help} onClick={() => act(name)}>{label}</Button>)}
      {told && <span class="dk-muted" role="status">{told}</span>}
    </span>
  );
}
