// A conversion goes for good only after a second click, which says what goes.
import { useEffect, useRef } from "preact/hooks";
import { Button } from "../ui/parts";

export function ConfirmDelete({ name, id, onDelete, onKeep }: { name: string; id: string; onDelete: () => void; onKeep: () => void }) {
  const keep = useRef<HTMLDivElement>(null);
  useEffect(() => keep.current?.querySelector<HTMLElement>("[data-keep]")?.focus(), []);
  return (
    <div ref={keep} class="cv-confirm" role="alertdialog" aria-label={`Delete ${name}?`} onKeyDown={(event) => { if (event.key === "Escape") { event.stopPropagation(); onKeep(); } }}>
      <span class="dk-grow"><b>Delete {name}?</b> Its model, its scores and the blocks that are kept go for good: <span class="dk-mono">{folderOf(id)}</span></span>
      <Button kind="danger" onClick={onDelete}>Delete</Button>
      <Button data-keep={true} onClick={onKeep}>Keep</Button>
    </div>
  );
}

/** What the model's folder is called: that of the conversion has `.run` behind it. */
function folderOf(id: string): string {
  return id.replace(/\.run$/, "");
}
