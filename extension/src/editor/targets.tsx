// Which modules an edit is for: the chosen one, all of its class, or a range of layers.
import { aimed, type Source, type Target } from "../core/code_edit";

const MODES: [Target["mode"], (source: Source) => string][] = [
  ["this", () => "This module"],
  ["class", (source) => `All ${source.same_class} ${source.class_name}`],
  ["layers", () => "Layers"],
];

export function Targets({ source, target, onTarget }: { source: Source; target: Target; onTarget: (target: Target) => void }) {
  const offered = MODES.filter(([mode]) => mode === "this" || (mode === "class" ? source.same_class > 1 : source.layers !== null));
  if (offered.length < 2) return null;
  const wrong = target.mode === "layers" && aimed(target, source) === null;
  return (
    <div class="ce-targets" role="radiogroup" aria-label="What the edit is for">
      <span class="dk-muted">Edit</span>
      {offered.map(([mode, name]) => (
        <label key={mode} class="ce-target" data-chosen={target.mode === mode || undefined}>
          <input type="radio" checked={target.mode === mode} onChange={() => onTarget({ mode, layers: target.layers || (source.layers ? `${source.layers.first}:${source.layers.last + 1}` : "") })} />
          {name(source)}
        </label>
      ))}
      {target.mode === "layers" && source.layers && (
        <input class="dk-input ce-layers" aria-label="Layers, first:end as in Python" aria-invalid={wrong} value={target.layers} spellcheck={false}
          title={`As Python slices: ${source.layers.first}:${source.layers.last + 1} is every ${source.layers.pattern}`}
          onInput={(event) => onTarget({ mode: "layers", layers: event.currentTarget.value })} />
      )}
      {target.mode === "layers" && <span class={wrong ? "ce-wrong" : "dk-muted"} role="status">{wrong ? "no such layers" : aimed(target, source)}</span>}
    </div>
  );
}
