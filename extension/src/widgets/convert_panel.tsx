// ConvertPanel: choose a model and a pipeline, see what it will take, watch it convert, and look at what came of it.
import "./config_form.css";
import "./convert_panel.css";
import { useMemo, useState } from "preact/hooks";
import { freshId, type Group } from "../core/config_form";
import { Before, Commands, type Plan } from "../convert/before";
import { type Opened, type Results, ResultsPage } from "../convert/results";
import type { Sample } from "../convert/samples";
import { Bits, type Layout, Part, Pipelines, type SetupState, Source, Steps } from "../convert/setup";
import { type ConversionChoice, type Course, Watch } from "../convert/watch";
import { useEdits } from "../form/edits";
import { type Fold, GroupView, type Hands } from "../form/group";
import { ErrorBox, Tabs } from "../ui/parts";
import { type Model, type Problem, useAsk, useSharedTrait, useTrait, widget } from "../ui/widget";

const PAGES = ["Set up", "Watch", "Results"] as const;

function ConvertPanel({ model }: { model: Model }) {
  const ask = useAsk(model);
  const [page, setPage] = useSharedTrait<string>(model, "page");
  const course = useTrait<Course | null>(model, "course");
  const problem = useTrait<Problem | null>(model, "problem");
  const pending = useTrait<string>(model, "pending");
  const choices = useTrait<ConversionChoice[]>(model, "choices");
  const going = useTrait<string[]>(model, "going");
  return (
    <section class="dk-card dk-form cv" aria-label="Convert a model to spikes">
      <Tabs names={PAGES} selected={page} onSelect={setPage} label="Steps of a conversion" />
      <ErrorBox problem={problem} onDismiss={() => ask("dismiss")} />
      <div role="tabpanel" aria-label={page} class="cv-page">
        {page === "Set up" && <SetUp model={model} />}
        {page === "Watch" && <Watch course={course} choices={choices} pending={pending} going={going} ask={ask} onResults={() => setPage("Results")} />}
        {page === "Results" && <Outcome model={model} course={course} />}
      </div>
    </section>
  );
}

function SetUp({ model }: { model: Model }) {
  const layout = useTrait<Layout>(model, "layout_data");
  const state = useTrait<SetupState>(model, "state");
  const plan = useTrait<Plan>(model, "ahead");
  const answered = useTrait<string[]>(model, "answered");
  const ask = useAsk(model);
  const edits = useEdits(state, ask);
  const [open, setOpen] = useState(false);
  const prefix = useMemo(() => `dk-${freshId()}`, []);
  const hands: Hands = {
    id: (key) => `${prefix}-${key}`,
    text: edits.text,
    isOff: edits.isOff,
    write: (key, text) => edits.write({ key, text }),
    toggle: (key, on) => edits.write({ key, on }),
    reset: (keys) => edits.act("reset", { keys }),
  };
  const settings = state.changed.filter((key) => key !== "source").length;
  const wrong = Object.entries(state.errors);
  return (
    <div class="cv-setup">
      <div class="cv-columns">
        <div class="cv-choose">
          <Source id={hands.id("source")} layout={layout} state={state} text={hands.text("source")} onWrite={(text) => hands.write("source", text)} />
          <Pipelines layout={layout} state={state} act={edits.act} />
          <Bits layout={layout} state={state} act={edits.act} />
        </div>
        <div class="cv-ahead">
          <Part title="What it does"><Steps steps={state.steps} /></Part>
          <Part title="What it will take"><Before plan={plan} state={state} answered={answered} act={edits.act} /></Part>
        </div>
      </div>
      <div class="cv-settings">
        <button type="button" class="dk-fold" aria-expanded={open} onClick={() => setOpen(!open)}>
          <span class="dk-fold-mark" aria-hidden="true">▸</span>
          All settings
        </button>
        {settings > 0 && <span class="dk-count">{settings} changed from the preset</span>}
        {wrong.length > 0 && <span class="dk-count" data-bad="true">{wrong[0]?.[1].message}</span>}
      </div>
      {open && <Groups layout={layout} state={state} hands={hands} />}
      <Commands state={state} />
    </div>
  );
}

function Groups({ layout, state, hands }: { layout: Layout; state: SetupState; hands: Hands }) {
  const [folds, setFolds] = useState<Record<string, Fold>>({});
  return (
    <div class="dk-groups">
      {layout.groups.map((group: Group) => (
        <GroupView
          key={group.section}
          group={group}
          state={state}
          hands={hands}
          fold={folds[group.section] ?? { open: !group.collapsed, more: false }}
          onFold={(fold) => setFolds({ ...folds, [group.section]: fold })}
        />
      ))}
    </div>
  );
}

function Outcome({ model, course }: { model: Model; course: Course | null }) {
  const ask = useAsk(model);
  const results = useTrait<Results>(model, "results");
  const opened = useTrait<Opened>(model, "opened");
  const samples = useTrait<Sample | null>(model, "samples");
  const going = useTrait<string[]>(model, "going");
  return <ResultsPage results={results} course={course} opened={opened} samples={samples} going={going} ask={ask} />;
}

export default widget(ConvertPanel);
