// A conversion at work: where it is, what each block cost, and what it says.
import { useState } from "preact/hooks";
import { duration, short } from "../core/format";
import { type Block, errorText, paceText, type Pace } from "../core/convert";
import { Button, ErrorBox, Progress, StateChip } from "../ui/parts";
import type { Problem } from "../ui/widget";
import { useNow } from "../run/clock";
import { BlockChart, brief } from "./block_chart";
import { ConfirmDelete } from "./delete";

export type Course = {
  now: number; id: string; name: string; source: string; out: string; state: string; place: number | null; reason: string | null;
  problem: Problem | null; stage: string | null; blocks_done: number; blocks: number | null; windows_done: number | null;
  windows: number | null; share: number | null; elapsed_s: number | null; eta_s: number | null; eta_of: string | null; reports: Block[];
  saved: boolean; pace: Pace | null;
};
type Ask = (name: string, rest?: Record<string, unknown>) => void;

export type ConversionChoice = { id: string; name: string; title: string; label: string; state: string; words: string; place: number | null };

const ACTIVE = ["starting", "running"];
const RESUMABLE: Record<string, string> = { created: "Start", queued: "Start now", stopped: "Resume", failed: "Resume", lost: "Resume" };

export function Watch({ course, choices, pending, going, ask, onResults }: {
  course: Course | null;
  choices: ConversionChoice[];
  pending: string;
  going: string[];
  ask: Ask;
  onResults: () => void;
}) {
  const active = Boolean(course && ACTIVE.includes(course.state));
  const now = useNow(course?.now, active);
  const [asked, setAsked] = useState("");
  if (!course) return <div class="dk-empty">No conversion yet. Choose a model and a pipeline, and start one.</div>;
  const since = active ? Math.max(0, now - course.now) : 0;
  const resumable = RESUMABLE[course.state];
  const go = resumable === "Resume" && course.blocks_done === 0 ? "Start again" : resumable;
  return (
    <div class="cv-watch">
      <div class="cv-course-head">
        {choices.length > 1 ? (
          <select class="dk-input cv-which" aria-label="Conversion shown" value={course.id} onChange={(event) => ask("show", { id: event.currentTarget.value })}>
            {choices.map((choice) => <option key={choice.id} value={choice.id}>{choice.label}</option>)}
          </select>
        ) : <b class="cv-which-name">{choices[0]?.title ?? course.name}</b>}
        <StateChip state={course.state} title={course.reason ?? undefined} />
        <span class="dk-grow" />
        {course.state === "queued" && <Button disabled={pending === "stop"} title="It will not begin by itself" onClick={() => ask("stop")}>Take out</Button>}
        {go
          ? <Button kind="primary" disabled={pending === "resume"} onClick={() => ask("resume")}>{pending === "resume" ? `${go === "Resume" ? "Resuming" : "Starting"}…` : go}</Button>
          : course.state !== "finished" && <Button disabled={!active || pending === "stop"} title="At the next pause; blocks that are done are kept" onClick={() => ask("stop")}>{pending === "stop" ? "Stopping…" : "Stop"}</Button>}
        {!active && <Button disabled={going.includes(course.id) || pending !== ""} onClick={() => setAsked(course.id)}>{going.includes(course.id) ? "Deleting…" : "Delete…"}</Button>}
        <Button kind={course.state === "finished" ? "primary" : undefined} disabled={!course.reports.length} onClick={onResults}>Results</Button>
      </div>
      {asked === course.id && !active && (
        <ConfirmDelete name={course.name} id={course.id} onKeep={() => setAsked("")} onDelete={() => { setAsked(""); ask("delete", { id: course.id }); }} />
      )}
      <div class="cv-course">
        <Progress share={active && course.share === null ? null : course.share ?? 0} label="Conversion done" />
        <div class="cv-course-text" role="status">
          <span class="cv-stage">{stageText(course, active)}</span>
          <span class="dk-muted" title={course.pace ? PACE : undefined}>{timeText(course, since)}</span>
        </div>
      </div>
      <ErrorBox problem={course.problem} />
      <BlockChart blocks={course.reports} count={course.blocks ?? course.reports.length} working={course.state === "running"} idle={IDLE[course.state] ?? "No block was finished."} />
      <Facts course={course} />
      <Queue choices={choices.filter((choice) => choice.id !== course.id)} onShow={(id) => ask("show", { id })} />
    </div>
  );
}

const PACE = "From the time of the last blocks. The plan is for a machine that does nothing else.";

const IDLE: Record<string, string> = {
  starting: "The first block is being prepared.",
  running: "The first block is being prepared.",
  queued: "It begins when those before it are done.",
  created: "It was not started yet.",
};

/** What else is at work or waits for its turn in the same folder, the next one first. */
function Queue({ choices, onShow }: { choices: ConversionChoice[]; onShow: (id: string) => void }) {
  const waiting = choices.filter(({ state }) => state === "queued").sort((a, b) => (a.place ?? 0) - (b.place ?? 0));
  const found = [...choices.filter(({ state }) => ACTIVE.includes(state)), ...waiting];
  if (!found.length) return null;
  return (
    <div class="cv-facts cv-queue" role="status">
      Also in the queue:
      {found.map(({ id, name, words }) => (
        <button key={id} type="button" class="dk-link" onClick={() => onShow(id)}>{name} ({words})</button>
      ))}
    </div>
  );
}

function stageText(course: Course, active: boolean): string {
  if (active) return activeText(course);
  const why = course.problem ? course.state : course.reason ?? course.state; // the box below tells a problem
  const stage = course.state === "queued" ? `waits for its turn${course.place ? `, ${course.place === 1 ? "next" : `place ${course.place}`} in the queue` : ""}` : why;
  const unscored = course.saved && course.state !== "finished" ? "the model is saved, its scores are missing" : "";
  return [stage, unscored || blocksText(course)].filter(Boolean).join(" · ");
}

function activeText(course: Course): string {
  const all = course.blocks !== null && course.blocks_done === course.blocks;
  const stage = course.stage ?? (all ? "saving the model" : course.state);
  const block = /^block (\d+) of/.exec(stage);
  if (block) return Number(block[1]) > course.blocks_done ? `${stage} · ${course.blocks_done} done` : `taking over ${stage}`;
  const scoring = course.windows ? `window ${course.windows_done ?? 0} of ${course.windows}` : "";
  return [stage, scoring || (all ? "" : blocksText(course))].filter(Boolean).join(" · ");
}

function blocksText(course: Course): string {
  return course.blocks === null ? "" : `${course.blocks_done} of ${course.blocks} blocks`;
}

function timeText(course: Course, since: number): string {
  const spent = course.elapsed_s === null ? "" : duration(course.elapsed_s + since);
  if (course.pace) return [spent, paceText(course.pace, since)].filter(Boolean).join(" · ");
  const rest = course.eta_s === null ? null : course.eta_s - since;
  const what = course.eta_of ? ` for ${course.eta_of}` : "";
  const left = rest === null ? "" : rest > 0 ? `about ${duration(rest)} left${what}` : `longer than expected${what}`;
  return [spent, left].filter(Boolean).join(" · ");
}

function Facts({ course }: { course: Course }) {
  const layers = course.reports.flatMap((block) => block.layers);
  const worst = layers.reduce<(typeof layers)[number] | null>((found, layer) => (!found || layer.error > found.error ? layer : found), null);
  const last = course.reports[course.reports.length - 1];
  const peak = Math.max(0, ...course.reports.map((block) => block.peak_bytes ?? 0));
  const resumed = course.reports.filter((block) => block.resumed).length;
  const facts: [string, string, string][] = [
    ["last block", last ? errorText(last.error) : "–", "Relative squared error of its output, errors of earlier blocks included"],
    ["worst layer", worst ? errorText(worst.error) : "–", worst ? worst.name : "Of all converted layers"],
    ["per block", course.reports.length ? brief(mean(course.reports.map((block) => block.seconds))) : "–", "Mean time of a block"],
    ["memory", peak ? short(peak, "B") : "–", "Most memory of the converting process"],
    ["taken over", course.reports.length ? `${resumed}` : "–", "Blocks kept from an earlier, interrupted start"],
  ];
  return (
    <dl class="cv-tiles">
      {facts.map(([name, value, about]) => <div key={name} title={about}><dt>{name}</dt><dd data-none={value === "–"}>{value}</dd></div>)}
    </dl>
  );
}

function mean(values: number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
