// What is converted and how: the model, the pipeline, the bits, and what the pipeline will do, step by step.
import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import type { FieldError, FormState, Group, Option } from "../core/config_form";
import type { Choice } from "./also";
import { openInside } from "../form/side";
import { Suggest } from "../form/suggest";
import { ErrorBox } from "../ui/parts";

export type Preset = { name: string; brief: string; about: string; tags: string[] };
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
  compare: Choice[];
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
  const settled = useSettled(text);
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
        <div id={`${id}-facts`}>
          {error && settled ? <ErrorBox problem={error} /> : <div class="cv-facts" role="status">{error ? error.brief : state.source_facts}</div>}
        </div>
      </div>
    </Part>
  );
}

const SETTLED_MS = 600;

/** Whether a text stays as it is: half a name is wrong too, and its explanation would jump in and out. */
function useSettled(text: string): boolean {
  const [settled, setSettled] = useState(text);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(text), SETTLED_MS);
    return () => clearTimeout(timer);
  }, [text]);
  return settled === text;
}

/** Radio buttons by the keyboard rules of ARIA: arrows choose, one tab stop. */
function arrows(names: readonly string[], chosen: string, choose: (name: string) => void) {
  return (event: KeyboardEvent) => {
    const step = ["ArrowDown", "ArrowRight"].includes(event.key) ? 1 : ["ArrowUp", "ArrowLeft"].includes(event.key) ? -1 : 0;
    if (!step || !(event.target as HTMLElement).matches("[role=radio]")) return;
    event.preventDefault();
    const next = (names.indexOf(chosen) + step + names.length) % names.length;
    choose(names[next] as string);
    (event.currentTarget as HTMLElement).querySelectorAll<HTMLElement>("[role=radio]")[next]?.focus();
  };
}

const TAGS: Record<string, string> = {
  spikes: "Features may send more than one spike",
  trains: "Every block is trained first: minutes where others take seconds",
};

export function Pipelines({ layout, state, act }: { layout: Layout; state: SetupState; act: Act }) {
  const move = arrows(layout.presets.map((preset) => preset.name), state.pipeline, (pipeline) => act("choose", { pipeline }));
  const chosen = layout.presets.find((preset) => preset.name === state.pipeline);
  return (
    <Part title="Pipeline" aside={<span class="cv-compare-head" aria-hidden="true">compare</span>}>
      <div class="cv-pipelines" role="radiogroup" aria-label="Pipeline" onKeyDown={move}>
        {layout.presets.map((preset) => <Pipeline key={preset.name} preset={preset} state={state} act={act} />)}
      </div>
      <div class="cv-facts cv-pipeline-about">{chosen?.about}</div>
    </Part>
  );
}

/** One pipeline, which is chosen, and may be ticked to be converted with as well. */
function Pipeline({ preset, state, act }: { preset: Preset; state: SetupState; act: Act }) {
  const { name } = preset;
  const chosen = name === state.pipeline;
  const other = state.compare.find((each) => each.name === name);
  const why = chosen ? "Chosen: it is what the others are compared with" : other?.why || `Convert with ${name} too, to compare`;
  return (
    <div class="cv-pipeline" data-chosen={chosen}>
      <button type="button" role="radio" aria-checked={chosen} tabIndex={chosen ? 0 : -1} title={preset.about} onClick={() => act("choose", { pipeline: name })}>
        <span class="cv-pipeline-name">{name}</span>
        <span class="cv-pipeline-brief">{preset.brief}</span>
        <span class="cv-tags">{preset.tags.map((tag) => <span key={tag} class="cv-tag" data-tag={tag} title={TAGS[tag]}>{tag}</span>)}</span>
      </button>
      <label class="cv-compare" title={why}>
        <input
          type="checkbox"
          aria-label={`Compare with ${name}`}
          checked={chosen || Boolean(other?.on)}
          disabled={chosen || !other || Boolean(other.why)}
          onChange={(event) => act("compare", { pipeline: name, on: event.currentTarget.checked })}
        />
      </label>
    </div>
  );
}

export function Bits({ layout, state, act }: { layout: Layout; state: SetupState; act: Act }) {
  const choose = (bits: string) => act("choose", { pipeline: state.pipeline, bits });
  const known = layout.bits.includes(state.bits);
  return (
    <Part title="Bits">
      <div class="cv-bits" role="radiogroup" aria-label="Bits of weights and activations" onKeyDown={arrows(layout.bits, state.bits, choose)}>
        {layout.bits.map((bits) => (
          <button key={bits} type="button" role="radio" aria-checked={bits === state.bits} tabIndex={bits === state.bits || (!known && bits === layout.bits[0]) ? 0 : -1} onClick={() => choose(bits)}>
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
