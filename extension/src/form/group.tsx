// One section of settings: a heading that folds, a switch where the section may be null, the first fields and the rest.
import { type FormField, type FormState, type Group, tally } from "../core/config_form";
import { Setting } from "./setting";

export type Hands = {
  id: (key: string) => string;
  text: (key: string) => string;
  isOff: (section: string) => boolean;
  write: (key: string, text: string) => void;
  toggle: (key: string, on: boolean) => void;
  reset: (keys: string[]) => void;
};

/** What is unfolded of a group. */
export type Fold = { open: boolean; more: boolean };

/** The group as it stands on the page; `only` are the fields a search has found in it. */
export function GroupView({ group, state, hands, fold, onFold, only }: {
  group: Group;
  state: FormState;
  hands: Hands;
  fold: Fold;
  onFold: (fold: Fold) => void;
  only?: FormField[];
}) {
  const { open, more } = fold;
  const counts = tally(group, state);
  const off = group.switch !== null && hands.isOff(group.section);
  const all = group.first.length === 0;
  const fields = only ?? [...group.first, ...(all || more ? group.more : [])];
  const shown = only !== undefined || open;
  const hidden = all || only ? 0 : group.more.length;
  const panel = hands.id(`${group.section || "run"}-panel`);
  return (
    <section class="dk-group" data-off={off} data-small={group.collapsed && !shown} aria-label={group.title}>
      <header class="dk-group-head">
        <button type="button" class="dk-fold" aria-expanded={shown} aria-controls={panel} title={group.about} onClick={() => onFold({ open: !open, more })}>
          <span class="dk-fold-mark" aria-hidden="true">▸</span>
          {group.title}
        </button>
        {group.switch && (
          <label class="dk-switch">
            <input type="checkbox" role="switch" id={hands.id(group.section)} checked={!off} onChange={(event) => hands.toggle(group.section, event.currentTarget.checked)} />
            <span class={off ? "" : "dk-muted"}>{off ? group.switch.off : "on"}</span>
          </label>
        )}
        <span class="dk-grow" />
        {counts.errors > 0 && <span class="dk-count" data-bad="true">{counts.errors} to mend</span>}
        {counts.changed > 0 && <span class="dk-count">{counts.changed} changed</span>}
        {hidden > 0 && shown && !off && (
          <button type="button" class="dk-more" aria-expanded={more} aria-controls={panel} onClick={() => onFold({ open, more: !more })}>
            {more ? "less" : `${hidden} more`}
          </button>
        )}
      </header>
      {shown && !off && (
        <div class="dk-fields" id={panel}>
          {fields.map((field) => (
            <Setting
              key={field.key}
              field={field}
              id={hands.id(field.key)}
              text={hands.text(field.key)}
              changed={state.changed.includes(field.key)}
              error={state.errors[field.key]}
              disabled={false}
              onWrite={(text) => hands.write(field.key, text)}
              onToggle={(on) => hands.toggle(field.key, on)}
              onReset={() => hands.reset([field.key])}
            />
          ))}
        </div>
      )}
    </section>
  );
}
