// How a spiking module encodes: settings of its neurons, changed without code.
import { useState } from "preact/hooks";
import { Button, Field } from "../ui/parts";

export interface SpecField {
  name: string;
  title: string;
  help: string;
  kind: "int" | "float" | "choice" | "bool";
  value: string | number | boolean;
  least: number | null;
  most: number | null;
  choices: string[];
}

export interface Spec {
  path: string;
  modules: number;
  fields: SpecField[];
}

type Values = Record<string, string | number | boolean>;

export function Neurons({ spec, busy, onApply }: { spec: Spec; busy: boolean; onApply: (changes: Values) => void }) {
  const [edited, setEdited] = useState<Record<string, string | boolean>>({});
  const changes: Values = {};
  const wrong: Record<string, string> = {};
  for (const field of spec.fields) {
    const given = edited[field.name];
    if (given === undefined) continue;
    const value = typeof given === "string" && (field.kind === "int" || field.kind === "float") ? Number(given) : given;
    if (typeof value === "number" && problem(field, given as string, value)) wrong[field.name] = problem(field, given as string, value);
    else if (value !== field.value) changes[field.name] = value;
  }
  const count = Object.keys(changes).length;
  const write = (name: string, value: string | boolean) => setEdited({ ...edited, [name]: value });
  return (
    <form class="ce-neurons" aria-label="Neurons" onSubmit={(event) => { event.preventDefault(); if (count && !busy) onApply(changes); }}>
      <p class="dk-muted">Settings of {spec.modules === 1 ? "this spiking module" : `the ${spec.modules} spiking modules in it`}. They change without code, and are taken back like any edit.</p>
      <div class="ce-fields">
        {spec.fields.map((field) => (
          <div key={field.name} data-changed={field.name in changes || undefined}>
            <Field id={`ce-${spec.path}-${field.name}`} label={field.title} help={field.help} error={wrong[field.name]}>
              <Control field={field} id={`ce-${spec.path}-${field.name}`} value={edited[field.name] ?? field.value} wrong={field.name in wrong} onWrite={(value) => write(field.name, value)} />
            </Field>
          </div>
        ))}
      </div>
      <div class="dk-row">
        <Button kind="primary" type="submit" disabled={busy || !count || Object.keys(wrong).length > 0}>Apply {count > 0 ? `${count} change${count > 1 ? "s" : ""}` : "changes"}</Button>
        <Button disabled={!Object.keys(edited).length} onClick={() => setEdited({})}>Discard</Button>
      </div>
    </form>
  );
}

type ControlProps = { field: SpecField; id: string; value: string | number | boolean; wrong: boolean; onWrite: (value: string | boolean) => void };

function Control({ field, id, value, wrong, onWrite }: ControlProps) {
  if (field.kind === "choice") {
    return <select id={id} class="dk-input" value={String(value)} onChange={(event) => onWrite(event.currentTarget.value)}>{field.choices.map((each) => <option key={each} value={each}>{each}</option>)}</select>;
  }
  if (field.kind === "bool") {
    return <span class="ce-tick"><input id={id} type="checkbox" checked={Boolean(value)} onChange={(event) => onWrite(event.currentTarget.checked)} /></span>;
  }
  return <input id={id} class="dk-input" inputMode={field.kind === "int" ? "numeric" : "decimal"} value={String(value)} aria-invalid={wrong} onInput={(event) => onWrite(event.currentTarget.value)} />;
}

function problem({ kind, least, most }: SpecField, text: string, value: number): string {
  if (!text.trim() || Number.isNaN(value)) return "a number, please";
  if (kind === "int" && !Number.isInteger(value)) return "a whole number, please";
  if (least !== null && value < least) return `${least} or more`;
  return most !== null && value > most ? `${most} at most` : "";
}
