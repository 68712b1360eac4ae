// What is converted and how: the model, the pipeline, the bits, and what the pipeline will do, step by step.
import type { ComponentChildren } from "preact";
import type { FieldError, FormState, Group, Option } from "../core/config_form";
import { openInside } from "../form/side";
import { Suggest } from "../form/suggest";

export type Preset = { name: string; about: string; tags: string[] };
export type Layout = { models: Option[]; presets: Preset[]; bits: string[]; groups: Group[] };
export type Step = { title: string; value: string; about: string; on: boolean };
export type SetupState = FormState & {
  source: string;
  source_facts: string;
  source_error: FieldError | null;
  pipeline: string;
  bits: string;
  bits_about: string;
  bits_error: FieldError | null;
  steps: Step[];
  ready: boolean;
};
type Act = (name: string, rest?: Record<string, unknown>) => void;

export function Source({ id, layout, state, text, onWrite }: {
  id: string;
  layout: Layout;
  state: SetupState;
  text: string;
  onWrite: (text: string) => void;
}) {
  const error = state.source_error;
  return (
    <Part title="Model" id={id}>
      <div class="dk-setting cv-source" data-invalid={Boolean(error)} onFocusCapture={openInside}>
        <Suggest
          id={id}
          value={text}
          options={layout.models}
          onWrite={onWrite}
          invalid={Boolean(error)}
          placeholder="a bundled model, a run, a folder, or an id of the hub"
          describedBy={`${id}-facts`}
        />
        <div class="cv-facts" id={`${id}-facts`} role="status">{error ? error.brief : state.source_facts}</div>
      </div>
    </Part>
  );
}

export function Pipelines({ layout, state, act }: { layout: Layout; state: SetupState; act: Act }) {
  const move = (event: KeyboardEvent) => {
    const step = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
    if (!step) return;
    event.preventDefault();
    const count = layout.presets.length;
    const index = layout.presets.findIndex((preset) => preset.name === state.pipeline);
    const next = (index + step + count) % count;
    act("choose", { pipeline: layout.presets[next]?.name });
    ((event.currentTarget as HTMLElement).children[next] as HTMLElement | undefined)?.focus();
  };
  return (
    <Part title="Pipeline">
      <div class="cv-pipelines" role="radiogroup" aria-label="Pipeline" onKeyDown={move}>
        {layout.presets.map((preset) => {
          const chosen = preset.name === state.pipeline;
          return (
            <button
              key={preset.name}
              type="button"
              role="radio"
              aria-checked={chosen}
              tabIndex={chosen ? 0 : -1}
              title={preset.about}
              onClick={() => act("choose", { pipeline: preset.name })}
            >
              <span class="cv-pipeline-name">{preset.name}</span>
              <span class="cv-pipeline-about">{preset.about}</span>
              {preset.tags.length > 0 && (
                <span class="cv-tags">{preset.tags.map((tag) => <span key={tag} class="cv-tag" data-tag={tag}>{tag}</span>)}</span>
              )}
            </button>
          );
        })}
      </div>
    </Part>
  );
}

export function Bits({ layout, state, act }: { layout: Layout; state: SetupState; act: Act }) {
  return (
    <Part title="Bits">
      <div class="cv-bits" role="radiogroup" aria-label="Bits of weights and activations">
        {layout.bits.map((bits) => (
          <button key={bits} type="button" role="radio" aria-checked={bits === state.bits} onClick={() => act("choose", { pipeline: state.pipeline, bits })}>
            {bits}
          </button>
        ))}
      </div>
      <div class="cv-facts" role="status" data-bad={Boolean(state.bits_error)}>
        {state.bits_error ? state.bits_error.message : state.bits_about}
      </div>
    </Part>
  );
}

/** The stations of a conversion from top to bottom; those the pipeline leaves out are quiet. */
export function Steps({ steps }: { steps: Step[] }) {
  return (
    <ol class="cv-steps" aria-label="What this pipeline does">
      {steps.map((step) => (
        <li key={step.title} data-on={step.on}>
          <div class="cv-step-head"><span class="cv-step-title">{step.title}</span> <span class="cv-step-value">{step.value}</span></div>
          {step.on && <div class="cv-step-about">{step.about}</div>}
        </li>
      ))}
    </ol>
  );
}

export function Part({ title, id, aside, children }: { title: string; id?: string; aside?: ComponentChildren; children: ComponentChildren }) {
  return (
    <div class="cv-part">
      <div class="cv-part-head">
        {id ? <label for={id}>{title}</label> : <span>{title}</span>}
        {aside}
      </div>
      {children}
    </div>
  );
}
