// What to type for the same run: the command for training and for using it, the Python, the YAML.
import { useState } from "preact/hooks";
import type { FormState } from "../core/config_form";
import { Button, CodeBox, Tabs } from "../ui/parts";

const NAMES = ["Train", "Use", "2 processes", "Python", "YAML"];
const LABELS: Record<string, string> = {
  Train: "command that trains exactly this",
  Use: "commands that use the trained run",
  "2 processes": "command for several processes; each takes a batch of its own",
  Python: "Python that starts the same run",
  YAML: "whole configuration as YAML",
};

export function Recipes({ state, onYaml }: { state: FormState; onYaml: (text: string) => void }) {
  const [selected, setSelected] = useState("Train");
  const [draft, setDraft] = useState<string | null>(null);
  const text = state.recipes.find((recipe) => recipe.name === selected)?.text;
  const editing = selected === "YAML" && draft !== null;
  return (
    <div class="dk-recipes">
      <div class="dk-row">
        <Tabs names={NAMES} selected={selected} onSelect={setSelected} label="The same run elsewhere" />
        <span class="dk-grow" />
        {selected === "YAML" && !editing && <Button kind="quiet" onClick={() => setDraft(text ?? "")}>Edit or paste…</Button>}
        {editing && <Button kind="primary" onClick={() => { onYaml(draft); setDraft(null); }}>Take these settings</Button>}
        {editing && <Button onClick={() => setDraft(null)}>Cancel</Button>}
      </div>
      {editing ? (
        <textarea
          class="dk-input dk-mono dk-yaml"
          aria-label="Configuration as YAML"
          spellcheck={false}
          value={draft}
          ref={(area) => area?.focus()}
          onInput={(event) => setDraft(event.currentTarget.value)}
          onKeyDown={(event) => { if (event.key === "Escape") setDraft(null); }}
        />
      ) : text === undefined ? (
        <pre class="dk-code dk-muted">The command appears here as soon as every setting fits.</pre>
      ) : (
        <CodeBox text={text} label={LABELS[selected] ?? selected} />
      )}
    </div>
  );
}
