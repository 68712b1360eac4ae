// The class of a module, edited in place: checked as it is typed, tried, applied to the model or run, and taken back.
import "./code_editor.css";
import { useCallback, useEffect, useMemo, useRef, useState } from "preact/hooks";
import { aimed, cellOf, changed, type EditProblem, type Outcome, type Past, type Source, type Target } from "../core/code_edit";
import { askForCell } from "../core/new_cell";
import { Code, type Hold } from "../editor/code";
import { completer } from "../editor/complete";
import { type Fork, Forks } from "../editor/forks";
import { Neurons, type Spec } from "../editor/neurons";
import { History } from "../editor/past";
import { Picker } from "../editor/picker";
import { Results, Running } from "../editor/results";
import { Targets } from "../editor/targets";
import { Button, copyText, ErrorBox, Tabs } from "../ui/parts";
import { type Model, type Problem, useAsk, useSharedTrait, useTrait, widget } from "../ui/widget";

const CHECK_MS = 300;
const KEEP_MS = 250;

type Root = { name: string; kind: "model" | "run"; label: string; paths: string[] };
type Checked = { path: string; text: string; problems: EditProblem[] };

function CodeEditor({ model }: { model: Model }) {
  const ask = useAsk(model);
  const root = useTrait<Root>(model, "root");
  const source = useTrait<Source | null>(model, "source");
  const problem = useTrait<Problem | null>(model, "problem");
  const opening = useTrait<string>(model, "opening");
  return (
    <section class="dk-card ce" aria-label={`Editor of ${root.name}`}>
      <Picker root={root} path={source?.path ?? null} onOpen={(path) => ask("open", { path })} />
      <ErrorBox problem={problem} onDismiss={() => ask("dismiss")} />
      {opening && <div class="dk-empty" role="status">{opening}</div>}
      {!opening && !source && <div class="dk-empty">Choose a module to read and change its class.</div>}
      {!opening && source && <Opened key={source.path} model={model} source={source} />}
    </section>
  );
}

function Opened({ model, source }: { model: Model; source: Source }) {
  const ask = useAsk(model);
  const spec = useTrait<Spec | null>(model, "spec");
  const past = useTrait<Past[]>(model, "past");
  const outcome = useTrait<Outcome | null>(model, "outcome");
  const fork = useTrait<Fork | null>(model, "fork");
  const tabs = ["code", ...(spec ? ["neurons"] : []), past.length ? `history ${past.length}` : "history"];
  const [tab, setTab] = useState("code");
  const busy = outcome?.state === "running";
  const shown = tabs.find((each) => each.split(" ")[0] === tab) ?? "code";
  return (
    <>
      <Tabs names={tabs} selected={shown} label="What to see" onSelect={(name) => setTab(name.split(" ")[0] as string)} />
      <div hidden={tab !== "code"}><Writing key={source.hash} model={model} source={source} outcome={outcome} /></div>
      {tab === "neurons" && spec && (
        <>
          <Neurons key={`${spec.path} ${past.length}`} spec={spec} busy={busy} onApply={(changes) => ask("spec", { changes })} />
          {outcome && (busy ? <Running outcome={outcome} onCancel={null} /> : outcome.doing === "spec" && <Results outcome={outcome} stale={false} onLine={() => undefined} />)}
        </>
      )}
      {tab === "history" && (
        <>
          <History history={past} busy={busy} onRevert={(count) => ask("revert", { count })} onOpen={(path) => ask("open", { path })}
            onAgain={(number) => { ask("again", { number }); setTab("code"); }} />
          {past.some((each) => !each.reverted) && <Forks fork={fork} busy={busy} onSave={(name) => ask("fork", { name })} />}
        </>
      )}
    </>
  );
}

/** The text, what it is for, and what can be done with it. */
function Writing({ model, source, outcome }: { model: Model; source: Source; outcome: Outcome | null }) {
  const ask = useAsk(model);
  const checked = useTrait<Checked | null>(model, "checked");
  const past = useTrait<Past[]>(model, "past");
  const root = useTrait<Root>(model, "root");
  const [target, setTarget] = useSharedTrait<Target>(model, "target");
  const [measure, setMeasure] = useSharedTrait<boolean>(model, "measure");
  const hold = useRef<Hold | null>(null);
  const { text, write, keep, start } = useDraft(model, source, hold);
  const [comparing, setComparing] = useState(false);
  const apply = useRef<HTMLDivElement>(null);
  const complete = useMemo(() => completer(model), [model]);

  useEffect(() => {
    const timer = setTimeout(() => ask("check", { text }), CHECK_MS);
    return () => clearTimeout(timer);
  }, [text, ask]);
  const busy = outcome?.state === "running";
  const mine = outcome && outcome.path === source.path ? outcome : null;
  const tried = mine && !busy && mine.for_text === text ? mine.problems : [];
  const found = checked?.path === source.path ? checked.problems : NONE;
  const problems = useMemo(() => [...found, ...tried.filter((each) => !found.some((other) => other.line === each.line && other.message === each.message))], [found, tried]);
  const { added, removed } = useMemo(() => changed(source.original, text), [source.original, text]);
  const edited = text !== source.text;
  const wrong = aimed(target, source) === null;
  const applied = past.some((each) => !each.reverted);
  const go = (doing: "apply" | "validate") => {
    const now = keep(); // what was typed may not be drawn yet
    if (!busy && !wrong && now !== source.text) ask(doing, { text: now });
  };

  if (!source.text) return <div class="dk-empty">{source.reason}</div>;
  return (
    <div class="ce-writing">
      <div class="dk-row ce-bar">
        <span class="dk-mono dk-muted ce-file" title={`${source.module}.${source.class_name}\n${source.file}`}>{source.file.split(/[/\\]/).pop()}{source.line ? `:${source.line}` : ", edited"}</span>
        <span class="dk-grow" />
        <span class="ce-count" aria-label={`${added} lines added, ${removed} removed`} hidden={!added && !removed}><b data-kind="added">+{added}</b> <b data-kind="removed">−{removed}</b></span>
        <Button aria-pressed={comparing} disabled={!added && !removed && !comparing} onClick={() => setComparing(!comparing)} title="What was changed against the original, in place">Changes</Button>
        <ToCell text={() => cellOf(source, target, text)} />
        <Button disabled={!edited || busy} onClick={() => { hold.current?.write(source.text); write(source.text); }} title="Put the text back as the module has it now">Discard</Button>
      </div>
      <Code hold={hold} text={start} original={source.original} label={`Source of ${source.class_name}`} problems={problems} comparing={comparing} locked={busy}
        onChange={write} onRun={() => go("apply")} onLeave={() => apply.current?.querySelector<HTMLElement>("button:not(:disabled), input")?.focus()} complete={complete} />
      <p class="ce-found" role="status" data-bad={problems.length > 0 || undefined}>{summary(problems, edited)}</p>
      <Targets source={source} target={target} onTarget={setTarget} />
      <div class="dk-row ce-actions" ref={apply}>
        <Button kind="primary" disabled={busy || !edited || wrong} onClick={() => go("apply")} title="Checks the edit, and puts it into the model">Apply <kbd>{MAC ? "⌘" : "Ctrl"} ⏎</kbd></Button>
        <Button disabled={busy || !edited || wrong} onClick={() => go("validate")} title="Tries the edit in a process of its own; the model stays as it is">Validate</Button>
        <Button disabled={busy || !applied} onClick={() => ask("revert", { count: 1 })} title="Takes back the last edit that was applied">Revert</Button>
        {root.kind === "model" && <label class="ce-measure"><input type="checkbox" checked={measure} onChange={(event) => setMeasure(event.currentTarget.checked)} /> measure before and after</label>}
      </div>
      {busy && outcome && <Running outcome={outcome} onCancel={outcome.doing === "validate" || outcome.doing === "apply" ? () => ask("cancel") : null} />}
      {!busy && mine && mine.doing !== "spec" && mine.doing !== "fork" && <Results outcome={mine} stale={mine.for_text !== "" && mine.for_text !== text} onLine={(line) => hold.current?.goTo(line)} />}
    </div>
  );
}

/** Takes the edit to a cell of the notebook, or to the clipboard where cells cannot be made from here. */
function ToCell({ text }: { text: () => string }) {
  const root = useRef<HTMLSpanElement>(null);
  const [copied, setCopied] = useState(false);
  const go = async () => {
    if (askForCell(root.current as HTMLElement, text())) return;
    await copyText(text());
    setCopied(true);
    setTimeout(() => setCopied(false), 1500);
  };
  return <span ref={root}><Button onClick={go} title="Goes on in a cell of the notebook, with %%darkit patch">{copied ? "Copied" : "To a cell"}</Button></span>;
}

const NONE: EditProblem[] = [];
const MAC = typeof navigator !== "undefined" && /Mac|iPhone|iPad/.test(navigator.platform);

function summary(problems: readonly EditProblem[], edited: boolean): string {
  const [first] = problems;
  if (!first) return edited ? "No problems found as you type." : "As the module has it.";
  const line = first.line === null ? "" : `line ${first.line}: `;
  return `${problems.length === 1 ? "1 problem" : `${problems.length} problems`} · ${line}${first.message}`;
}

/** What is written of a module and not applied yet: kept in the kernel, so that a reload loses none of it. */
function useDraft(model: Model, source: Source, hold: { current: Hold | null }) {
  const drafts = useTrait<Record<string, string>>(model, "drafts");
  const start = useRef(drafts[source.path] ?? source.text);
  const [text, setText] = useState(start.current);
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  const latest = useRef(text);
  const sent = useRef(text);
  const keep = useCallback(() => {
    clearTimeout(timer.current);
    timer.current = undefined;
    const now = { ...(model.get("drafts") as Record<string, string>) };
    if (latest.current === source.text) delete now[source.path];
    else now[source.path] = latest.current;
    sent.current = latest.current;
    model.set("drafts", now);
    model.save_changes();
    return latest.current;
  }, [model, source]);
  const write = useCallback((next: string) => {
    latest.current = next;
    setText(next);
    clearTimeout(timer.current);
    timer.current = setTimeout(keep, KEEP_MS);
  }, [keep]);
  useEffect(() => {
    const told = drafts[source.path] ?? source.text; // by Python, unless it is what was sent from here
    if (told === sent.current || timer.current !== undefined) return;
    sent.current = latest.current = told;
    hold.current?.write(told);
    setText(told);
  }, [drafts, source, hold]);
  useEffect(() => () => { if (timer.current !== undefined) keep(); }, [keep]);
  return { text, write, keep, start: start.current };
}

export default widget(CodeEditor);
