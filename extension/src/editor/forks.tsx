// Keeping the edited model under a name.
import { useState } from "preact/hooks";
import { Button } from "../ui/parts";

export interface Fork {
  name: string;
  path: string;
  patches: number;
}

export function Forks({ fork, busy, onSave }: { fork: Fork | null; busy: boolean; onSave: (name: string) => void }) {
  const [name, setName] = useState(fork?.name ?? "");
  return (
    <form class="ce-fork" aria-label="Save as fork" onSubmit={(event) => { event.preventDefault(); if (name.trim()) onSave(name.trim()); }}>
      <input class="dk-input" aria-label="Name of the fork" placeholder="gated-mlp" value={name} spellcheck={false} onInput={(event) => setName(event.currentTarget.value)} />
      <Button type="submit" disabled={busy || !name.trim()} title="The model it began from and these edits, as a folder to keep, share and train from">Save as fork</Button>
      {fork && <p class="dk-muted ce-saved" role="status">✓ {fork.patches} {fork.patches === 1 ? "edit" : "edits"} saved in <span class="dk-mono">{fork.path}</span></p>}
    </form>
  );
}
