// Which module is open: its name, and a field that finds another.
import { useEffect, useState } from "preact/hooks";

const MOST_OFFERED = 400;

type Root = { name: string; kind: "model" | "run"; label: string; paths: string[] };

export function Picker({ root, path, onOpen }: { root: Root; path: string | null; onOpen: (path: string) => void }) {
  const [typed, setTyped] = useState(path ?? "");
  useEffect(() => setTyped(path ?? ""), [path]);
  const id = `ce-paths-${root.name.replace(/\W+/g, "-")}`;
  const open = () => { if (typed.trim() !== (path ?? "") || path === null) onOpen(typed.trim()); };
  return (
    <div class="ce-picker">
      <span class="ce-root" title={root.label}>{root.name}</span>
      <input class="dk-input dk-mono" list={id} aria-label="Module to edit" placeholder="model.layers.0.mlp" spellcheck={false} autocomplete="off" value={typed}
        onInput={(event) => { setTyped(event.currentTarget.value); if (root.paths.includes(event.currentTarget.value)) onOpen(event.currentTarget.value); }}
        onKeyDown={(event) => { if (event.key === "Enter") open(); if (event.key === "Escape") setTyped(path ?? ""); }} onBlur={() => setTyped(path ?? typed)} />
      <datalist id={id}>{root.paths.slice(0, MOST_OFFERED).map((each) => <option key={each} value={each} />)}</datalist>
    </div>
  );
}
