// One run: what it does, says and holds, and the buttons that drive it.
import "./run_panel.css";
import { useState } from "preact/hooks";
import { duration, energy, percent, short, significant, whole } from "../core/format";
import { type Action, button, type Pending, share } from "../core/run_actions";
import { useNow } from "../run/clock";
import { type About, type Checkpoint, Checkpoints, type Event, Events, Settings } from "../run/lists";
import { LogView } from "../run/log_view";
import { Button, ErrorBox, Progress, StateChip, Tabs } from "../ui/parts";
import { type Model, type Problem, useAsk, useTrait, widget } from "../ui/widget";

type Status = {
  now: number; name: string; id: string; state: string; reason: string | null; missing: boolean; attempt: number;
  step: number | null; total_steps: number | null; started: number | null; ended: number | null; eta_s: number | null;
  loss: number | null; bits_per_byte: number | null; firing_rate: number | null; energy_pj: number | null;
  tokens_per_s: number | null; memory_bytes: number | null; orphan_pid: number | null; problem: Problem | null;
};

const PAGES = ["Log", "Checkpoints", "Events", "Settings"] as const;
const ACTIVE = ["running", "starting"];

function RunPanel({ model }: { model: Model }) {
  const ask = useAsk(model);
  const status = useTrait<Status | null>(model, "status");
  const about = useTrait<About>(model, "about");
  const note = useTrait<string>(model, "note");
  const problem = useTrait<Problem | null>(model, "problem");
  const asked = useTrait<Record<string, number>>(model, "pending");
  const now = useNow(status?.now, Boolean(status && (ACTIVE.includes(status.state) || Object.keys(asked).length)));
  const [page, setPage] = useState<string>(PAGES[0]);
  if (!about.id) return <div class="dk-card"><div class="dk-empty">No run is shown. Start one, or choose one from the list of runs.</div></div>;
  const pending: Pending = Object.fromEntries(Object.entries(asked).map(([name, time]) => [name, Math.max(0, now - time)]));
  return (
    <section class="dk-card rp" aria-label={`Run ${about.name}`}>
      <Head about={about} status={status} pending={pending} ask={ask} />
      <Course status={status} steps={about.steps} now={now} />
      <Numbers status={status} />
      <ErrorBox problem={problem} onDismiss={() => ask("dismiss")} />
      {status?.missing
        ? <div class="rp-note" role="status">The folder of this run is gone. What is shown was read before.</div>
        : <ErrorBox problem={status?.problem} />}
      {note && <div class="rp-note" role="status"><span class="dk-grow">{note}</span><Button kind="quiet" aria-label="Dismiss this note" onClick={() => ask("read_note")}>✕</Button></div>}
      <Tabs names={PAGES} selected={page} onSelect={setPage} label="What this run says and holds" />
      <div class="rp-page" role="tabpanel" aria-label={page}>
        {page === "Log" && <LogView key={about.id} model={model} />}
        {page === "Checkpoints" && <CheckpointPage model={model} now={now} />}
        {page === "Events" && <EventPage model={model} now={now} />}
        {page === "Settings" && <Settings about={about} />}
      </div>
    </section>
  );
}

function Head({ about, status, pending, ask }: { about: About; status: Status | null; pending: Pending; ask: (name: string) => void }) {
  const act = (action: Action, kind?: "primary" | "danger") => {
    const { label, enabled, title } = button(action, status, pending);
    // Not `disabled`: a button that is must not lose the keyboard's focus when it begins to work.
    return <Button class={`dk-button rp-${action}`} kind={kind} aria-disabled={!enabled} title={title} onClick={() => { if (enabled) ask(action); }}>{label}</Button>;
  };
  return (
    <header class="rp-head">
      <div class="rp-title">
        <h3 class="dk-title" title={about.folder}>{about.name}</h3>
        <StateChip state={status?.missing ? "deleted" : status?.state ?? "…"} title={status?.reason ?? undefined} />
        <span class="dk-muted dk-mono rp-id" title={about.folder}>{about.id}</span>
      </div>
      <div class="rp-actions" role="group" aria-label="What can be done">
        {act("stop")}{act("resume")}{act("checkpoint")}{act("clone")}
        {status?.orphan_pid ? act("end_orphan", "danger") : null}
      </div>
    </header>
  );
}

function Course({ status, steps, now }: { status: Status | null; steps?: number; now: number }) {
  const active = Boolean(status && ACTIVE.includes(status.state));
  const done = status ? share(status) : 0;
  const until = status?.ended ?? (active ? now : null);
  const spent = status?.started && until ? duration(until - status.started) : null;
  const attempt = status && status.attempt > 1 ? `attempt ${status.attempt}` : null;
  const left = status?.state === "running" && status.eta_s !== null ? `${duration(status.eta_s)} left` : null;
  const why = status?.state === "queued" ? "waits until a run before it has ended" : status && !active && !status.problem ? status.reason : active ? status?.reason : null;
  return (
    <div class="rp-course">
      <Progress share={active && done === null ? null : done ?? 0} label="Steps done" />
      <div class="rp-course-text">
        <span>step <b>{whole(status?.step ?? 0)}</b> of {whole(status?.total_steps ?? steps)}{done === null ? "" : ` · ${percent(done)}`}</span>
        <span class="dk-muted rp-why" title={why ?? undefined}>{why ?? ""}</span>
        <span class="dk-muted">{[attempt, spent, left].filter(Boolean).join(" · ") || "\u00a0"}</span>
      </div>
    </div>
  );
}

function Numbers({ status }: { status: Status | null }) {
  const digits = (value: number | null | undefined, count: number) => (typeof value === "number" ? significant(value, count) : "–");
  const tiles: [string, string, string?][] = [
    ["loss", digits(status?.loss, 4), "Training loss of the last step"],
    ["bits/byte", digits(status?.bits_per_byte, 4), "On the validation text; independent of the tokenizer"],
    ["firing rate", percent(status?.firing_rate), "Share of spike slots that hold a spike"],
    ["energy/token", energy(status?.energy_pj), "Simulated: counted operations and memory at 45 nm (Horowitz 2014), not measured on a chip"],
    ["tokens/s", short(status?.tokens_per_s), "Training tokens per second, last step"],
    ["memory", short(status?.memory_bytes, "B"), "Of the training process"],
  ];
  return (
    <dl class="rp-numbers">
      {tiles.map(([name, value, title]) => (
        <div key={name} title={title}>
          <dt>{name}{name.startsWith("energy") && <i class="rp-simulated"> simulated</i>}</dt>
          <dd data-none={value === "–"}>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

function CheckpointPage({ model, now }: { model: Model; now: number }) {
  return <Checkpoints found={useTrait<Checkpoint[]>(model, "checkpoints")} now={now} />;
}

function EventPage({ model, now }: { model: Model; now: number }) {
  return <Events found={useTrait<Event[]>(model, "events")} checkpoints={useTrait<Checkpoint[]>(model, "checkpoints")} now={now} />;
}

export default widget(RunPanel);
