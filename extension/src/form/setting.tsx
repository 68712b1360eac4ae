// One setting: its label with the way back to the default, its control, one line for limits or what is wrong.
import type { ComponentChildren } from "preact";
import { type FieldError, type FormField, hint } from "../core/config_form";
import { openInside } from "./side";
import { Suggest } from "./suggest";

export type SettingProps = {
  field: FormField;
  id: string;
  text: string;
  changed: boolean;
  error: FieldError | undefined;
  disabled: boolean;
  onWrite: (text: string) => void;
  onToggle: (on: boolean) => void;
  onReset: () => void;
};

const WIDE = new Set(["list", "mapping"]);

export function Setting(props: SettingProps) {
  const { field, id, changed, error, onReset } = props;
  const wide = WIDE.has(field.kind) || field.options.length > 0 || field.key.endsWith(".path");
  return (
    <div class="dk-setting" data-changed={changed} data-invalid={Boolean(error)} data-wide={wide} data-key={field.key} onFocusCapture={openInside}>
      <div class="dk-setting-label">
        <label for={id} title={`${field.key}: ${field.about}`}>{field.label}</label>
        <button
          type="button"
          class="dk-reset"
          aria-label={`${field.label} back to the default, ${field.default || "null"}`}
          title={`Back to ${field.default || "null"}`}
          style={{ visibility: changed ? "visible" : "hidden" }}
          onClick={onReset}
        >
          ↺
        </button>
      </div>
      <Control {...props} />
      <div class="dk-setting-hint" id={`${id}-hint`} aria-live="polite" title={error?.brief ?? hint(field, changed, props.text)}>
        {error ? error.brief : hint(field, changed, props.text)}
      </div>
      <Help id={id} field={field} error={error} />
    </div>
  );
}

function Control({ field, id, text, error, disabled, onWrite, onToggle }: SettingProps) {
  const shared = {
    id,
    disabled,
    "aria-invalid": Boolean(error),
    "aria-describedby": `${id}-hint ${id}-help`,
  };
  if (field.kind === "true/false")
    return (
      <label class="dk-check">
        <input {...shared} type="checkbox" checked={text === "true"} onChange={(event) => onToggle(event.currentTarget.checked)} />
        <span>{text === "true" ? "on" : "off"}</span>
      </label>
    );
  if (field.choices.length)
    return (
      <select {...shared} class="dk-input" value={text} onChange={(event) => onWrite(event.currentTarget.value)}>
        {field.choices.map((choice) => <option key={choice} value={choice}>{choice}</option>)}
      </select>
    );
  const placeholder = field.placeholder ?? (field.nullable ? "none" : field.default);
  if (field.options.length)
    return (
      <Suggest
        id={id}
        value={text}
        options={field.options}
        onWrite={onWrite}
        invalid={Boolean(error)}
        placeholder={placeholder}
        describedBy={shared["aria-describedby"]}
      />
    );
  return (
    <input
      {...shared}
      class="dk-input"
      type="text"
      inputMode={field.kind === "integer" ? "numeric" : field.kind === "number" ? "decimal" : "text"}
      autocomplete="off"
      spellcheck={false}
      placeholder={field.kind === "mapping" ? "hidden_size: 96, …" : placeholder}
      value={text}
      onInput={(event) => onWrite(event.currentTarget.value)}
    />
  );
}

/** The description, while the field has the focus; it lies above what follows and moves nothing. */
function Help({ id, field, error }: { id: string; field: FormField; error: FieldError | undefined }): ComponentChildren {
  return (
    <div class="dk-help" id={`${id}-help`} role="tooltip">
      {error && <div class="dk-help-error">{error.message}{error.fix && ` ${sentence(error.fix)}`}</div>}
      <div>{field.about}</div>
      <div class="dk-muted"><code>{field.key}</code> · {field.expected} · default {field.default || "null"}</div>
    </div>
  );
}

function sentence(text: string): string {
  const capital = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(capital) ? capital : `${capital}.`;
}
