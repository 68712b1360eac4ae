// ConfigForm: every setting as a field, checked by the kernel, with the commands that reproduce the run.
import "./config_form.css";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { type FormState, freshId, type Group, type Layout, orderedErrors, search } from "../core/config_form";
import { useEdits } from "../form/edits";
import { useDrop, useFiles } from "../form/files";
import { type Fold, GroupView, type Hands } from "../form/group";
import { ImportStrip } from "../form/import_strip";
import { Menu } from "../form/menu";
import { Recipes } from "../form/recipes";
import { Button, download, ErrorBox } from "../ui/parts";
import { type Model, type Problem, useAsk, useTrait, widget } from "../ui/widget";

const FILES = ".yaml,.yml,.zip,.tar,.gz,.tgz,.bz2,.tbz2,.xz,.txz";

function ConfigForm({ model }: { model: Model }) {
  const layout = useTrait<Layout>(model, "layout_data");
  const state = useTrait<FormState>(model, "state");
  const problem = useTrait<Problem | null>(model, "problem");
  const ask = useAsk(model);
  const edits = useEdits(state, ask);
  const files = useFiles(model, edits.act);
  const drop = useDrop(files.take);
  const [query, setQuery] = useState("");
  const [folds, setFolds] = useState<Record<string, Fold>>({});
  const prefix = useMemo(() => `dk-${freshId()}`, []);
  const hands: Hands = {
    id: (key) => `${prefix}-${key}`,
    text: edits.text,
    isOff: edits.isOff,
    write: (key, text) => edits.write({ key, text }),
    toggle: (key, on) => edits.write({ key, on }),
    reset: (keys) => edits.act("reset", { keys }),
  };
  const found = search(layout, query);
  const shared = (group: Group) => ({
    key: group.section,
    group,
    state,
    hands,
    fold: folds[group.section] ?? { open: !group.collapsed, more: false },
    onFold: (fold: Fold) => setFolds({ ...folds, [group.section]: fold }),
  });

  return (
    <div class="dk-card dk-form" data-drop={drop.over} {...drop.handlers}>
      <Toolbar layout={layout} state={state} query={query} setQuery={setQuery} act={edits.act} take={files.take} />
      {layout.failures.map((failure) => (
        <div class="dk-failure" key={failure.plugin} role="status">
          The {failure.kind} plug-in <code>{failure.plugin}</code> could not be loaded and is left out: {failure.why}
        </div>
      ))}
      {files.refused && <ErrorBox problem={{ message: files.refused }} onDismiss={files.forget} />}
      {files.importing && (
        <ImportStrip
          importing={files.importing}
          onCancel={files.cancel}
          onUse={() => edits.act("use_import")}
          onDropPickles={() => edits.act("import_without_pickles")}
        />
      )}
      <div class="dk-groups">
        {query.trim()
          ? found.map(({ group, fields }) => <GroupView {...shared(group)} only={fields} />)
          : layout.groups.map((group) => <GroupView {...shared(group)} />)}
        {query.trim() && found.length === 0 && <div class="dk-empty">No setting matches “{query.trim()}”.</div>}
      </div>
      <Actions layout={layout} state={state} model={model} act={edits.act} hands={hands} reveal={setQuery} />
      <ErrorBox problem={problem} onDismiss={() => ask("dismiss")} />
      <Recipes state={state} onYaml={(text) => edits.act("yaml", { text, name: "The text" })} />
      {drop.over && <div class="dk-drop" aria-hidden="true">Drop a YAML file, or an archive of a model or a run</div>}
    </div>
  );
}

type Act = (name: string, rest?: Record<string, unknown>) => void;

function Toolbar({ layout, state, query, setQuery, act, take }: {
  layout: Layout;
  state: FormState;
  query: string;
  setQuery: (query: string) => void;
  act: Act;
  take: (files: FileList | null) => void;
}) {
  const chooser = useRef<HTMLInputElement>(null);
  const yaml = state.recipes.find((recipe) => recipe.name === "YAML")?.text;
  const points = layout.starting_points.map((point) => ({
    ...point,
    heading: point.scope === "run" ? "Replace all settings" : "Change only the neuron",
  }));
  return (
    <div class="dk-row dk-toolbar">
      <input
        class="dk-input dk-search"
        type="search"
        placeholder="Find a setting"
        aria-label="Find a setting by name or description"
        value={query}
        onInput={(event) => setQuery(event.currentTarget.value)}
        onKeyDown={(event) => { if (event.key === "Escape") setQuery(""); }}
      />
      <Menu label="Start from" items={points} onChoose={(name) => act("apply", { name })} />
      <Button disabled={!state.undo} title={state.undo ? `Undo: ${state.undo}` : "Nothing to undo"} onClick={() => act("undo")}>Undo</Button>
      <span class="dk-grow" />
      <Button title="YAML fills the form; an archive (.zip, .tar) of a model or a run is imported" onClick={() => chooser.current?.click()}>Open…</Button>
      <Button disabled={yaml === undefined} title="Download the configuration as YAML" onClick={() => download("config.yaml", yaml ?? "", "application/yaml")}>Save</Button>
      <input
        class="dk-hidden"
        type="file"
        ref={chooser}
        accept={FILES}
        tabIndex={-1}
        aria-hidden="true"
        onChange={(event) => { take(event.currentTarget.files); event.currentTarget.value = ""; }}
      />
    </div>
  );
}

function Actions({ layout, state, model, act, hands, reveal }: {
  layout: Layout;
  state: FormState;
  model: Model;
  act: Act;
  hands: Hands;
  reveal: (query: string) => void;
}) {
  const answered = useTrait<string[]>(model, "answered");
  const click = useRef("");
  const [waiting, setWaiting] = useState(false);
  const errors = orderedErrors(layout, state);
  useEffect(() => {
    if (!click.current || !answered.includes(click.current)) return;
    click.current = "";
    setWaiting(false);
  }, [answered]);
  const start = (queue: boolean) => {
    // The reference, not the state: two clicks of a double click come before the next draw.
    if (click.current) return;
    click.current = freshId();
    setWaiting(true);
    act("start", { click: click.current, queue });
  };
  const show = (key: string) => {
    const focus = () => document.getElementById(hands.id(key))?.focus();
    if (!document.getElementById(hands.id(key))) reveal(key);
    setTimeout(focus, 50);
  };
  const blocked = waiting || errors.length > 0;
  const [first] = errors;
  return (
    <div class="dk-row dk-actions">
      <Button kind="primary" disabled={blocked} aria-describedby={hands.id("summary")} onClick={() => start(false)}>
        {waiting ? "Starting…" : "Start"}
      </Button>
      <Button disabled={blocked} title="Start when the runs before it are done" onClick={() => start(true)}>Queue</Button>
      <div class="dk-grow dk-summary" id={hands.id("summary")} role="status">
        {first ? (
          <>
            <button type="button" class="dk-link" onClick={() => show(first.key)}>{first.label}</button>
            <span class="dk-bad"> {first.error.brief}</span>
            {errors.length > 1 && <span class="dk-muted"> · and {errors.length - 1} more to mend</span>}
          </>
        ) : (
          <>
            <span class={state.note.fits ? "dk-muted" : "dk-bad"}>
              {!state.note.fits && "Does not fit: "}{state.note.facts.join(" · ")}
            </span>
            {state.note.fix && (
              <button type="button" class="dk-link" title={state.note.fix} onClick={() => act("fit", { settings: state.note.fix })}>make it fit</button>
            )}
          </>
        )}
      </div>
    </div>
  );
}

export default widget(ConfigForm);
