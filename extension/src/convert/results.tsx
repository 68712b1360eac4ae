// Every converted model beside the float one: quality against operations, the table, and where one of them errs.
import { type ComponentChildren, Fragment } from "preact";
import { useRef, useState } from "preact/hooks";
import { deltaParts, type Heat, HEATS, type Row } from "../core/convert";
import { duration, short, significant } from "../core/format";
import { Button, ErrorBox } from "../ui/parts";
import type { Problem } from "../ui/widget";
import { Also, type Choice } from "./also";
import { ConfirmDelete } from "./delete";
import { HeatMapView } from "./heat_map";
import { Samples, type Sample } from "./samples";
import { TradeChart } from "./trade_chart";
import type { Course } from "./watch";

export type Results = { rows: Row[]; text: string; also: Choice[]; against: string };
export type Opened = { id: string; stage: "opening" | "open" | "failed"; problem: Problem | null } | null;
type Ask = (name: string, rest?: Record<string, unknown>) => void;

export function ResultsPage({ results, course, opened, samples, going, ask }: {
  results: Results;
  course: Course | null;
  going: string[];
  opened: Opened;
  samples: Sample | null;
  ask: Ask;
}) {
  const [heat, setHeat] = useState<Heat>("error");
  const measured = results.rows.filter((row) => row.perplexity !== null);
  const chosen = course?.id ?? "";
  const show = (id: string) => ask("show", { id });
  const row = results.rows.find((each) => each.id === chosen && !each.float);
  return (
    <div class="cv-results">
      {measured.length > 0 ? (
        <>
          {measured.some((each) => !each.float) && <TradeChart rows={measured} chosen={chosen} onChoose={show} />}
          <Against rows={measured} against={results.against} onPick={(id) => ask("against", { id })} />
          <ResultTable results={results} chosen={chosen} going={going} onChoose={show} onDelete={(id) => ask("delete", { id })} />
        </>
      ) : <div class="dk-empty">{unmeasured(results.rows, course)}</div>}
      {course && measured.length > 0 && <Also key={course.id} name={course.name} choices={results.also} onConvert={(pipelines) => ask("also", { id: course.id, pipelines })} />}
      {course && course.reports.length > 0 && (
        <section class="cv-chosen" aria-label={`The conversion ${course.name}`}>
          <div class="cv-chosen-head">
            <b>{row?.name ?? course.name}</b>
            <span class="dk-muted dk-mono cv-chosen-id">{course.id}</span>
            <span class="dk-grow" />
            <Button disabled={!course.saved || opened?.stage === "opening"} onClick={() => ask("open", { id: course.id })}>
              {opened?.stage === "opening" ? "Opening…" : opened?.id === course.id && opened.stage === "open" ? "Close model tree" : "Open in model tree"}
            </Button>
          </div>
          <ErrorBox problem={opened?.problem} />
          <HeatMapView blocks={course.reports} count={course.blocks ?? course.reports.length} heat={heat} heats={HEATS} onHeat={setHeat} />
          {course.saved && <Samples sample={samples} id={course.id} ask={ask} />}
        </section>
      )}
    </div>
  );
}

/** Why there is nothing to compare. */
function unmeasured(rows: Row[], course: Course | null): string {
  if (rows.some((row) => row.state === "finished")) return "What was converted was not scored: windows was 0.";
  if (course?.saved) return "The model is saved, but was not scored yet.";
  return "Nothing has been measured yet. A conversion is scored on held-out text when its last block is done.";
}

const HEADS: [string, string, boolean][] = [
  ["model", "", false],
  ["perplexity", "Per token, on held-out text in windows that do not overlap", true],
  ["Δ bits/byte", "Lost to the float model on the same windows, with half the 95 % interval", true],
  ["steps", "Mean spike steps of an activation", true],
  ["code bits", "Information of one activation", true],
  ["stored bits", "Of a weight on disk, scales and masks included", true],
  ["ACE", "Weight bits × bits of a step × steps of one product; 256 is float16", true],
  ["took", "Time of the conversion", true],
];

const MEANING = "Steps: spike steps of an activation, code bits: its information. Stored bits: of a weight, scales and masks included. "
  + "ACE: weight bits × bits of a step × steps, the effort of one product; 256 is float16.";

/** What all the others are put beside: the float model, or one of the converted ones. */
function Against({ rows, against, onPick }: { rows: Row[]; against: string; onPick: (id: string) => void }) {
  const converted = rows.filter((row) => !row.float);
  if (converted.length < 2) return null;
  return (
    <label class="cv-pick cv-against">
      Δ bits/byte against
      <select class="dk-input" value={against} onChange={(event) => onPick(event.currentTarget.value)}>
        <option value="">float</option>
        {converted.map((row) => <option key={row.id} value={row.id}>{row.name}</option>)}
      </select>
    </label>
  );
}

function ResultTable({ results, chosen, going, onChoose, onDelete }: {
  results: Results;
  chosen: string;
  going: string[];
  onChoose: (id: string) => void;
  onDelete: (id: string) => void;
}) {
  const [asked, setAsked] = useState("");
  const table = useRef<HTMLDivElement>(null);
  const keep = (id: string) => {
    setAsked("");
    table.current?.querySelector<HTMLElement>(`[data-delete="${CSS.escape(id)}"]`)?.focus();
  };
  return (
    <div class="cv-table" ref={table}>
      <table class="dk-table">
        <thead><tr>
          {HEADS.map(([name, about, number]) => <th key={name} data-number={number || undefined} title={about} scope="col">{name}</th>)}
          <th scope="col"><span class="dk-hidden">delete</span></th>
        </tr></thead>
        <tbody>
          {results.rows.map((row) => (
            <Fragment key={row.id}>
              <ResultRow row={row} chosen={row.id === chosen && !row.float} going={going.includes(row.id)} onChoose={onChoose} onAsk={() => setAsked(row.id)} />
              {asked === row.id && (
                <tr class="cv-confirm-row"><td colSpan={HEADS.length + 1}>
                  <ConfirmDelete name={row.name} id={row.id} onKeep={() => keep(row.id)} onDelete={() => { setAsked(""); onDelete(row.id); }} />
                </td></tr>
              )}
            </Fragment>
          ))}
        </tbody>
      </table>
      {results.text && <div class="cv-facts">{results.text} {MEANING}</div>}
    </div>
  );
}

const AT_WORK = ["starting", "running"];

function ResultRow({ row, chosen, going, onChoose, onAsk }: { row: Row; chosen: boolean; going: boolean; onChoose: (id: string) => void; onAsk: () => void }) {
  const working = AT_WORK.includes(row.state);
  const state = going ? "being deleted" : row.perplexity !== null ? "" : row.state === "finished" ? "not scored" : row.words;
  return (
    <tr data-float={row.float} aria-selected={chosen}>
      <th scope="row">
        {row.float
          ? <span class="cv-row-name">{row.name}</span>
          : <button type="button" class="cv-row-name" aria-pressed={chosen} onClick={() => onChoose(row.id)}>{row.name}</button>}
        {state && <span class="dk-muted"> {state}</span>}
      </th>
      {cells(row).map((cell, index) => <td key={index} data-number={true} data-good={index === 1 && row.high !== null && row.high <= 0}>{cell}</td>)}
      <td class="cv-delete">
        {!row.float && (
          <button type="button" data-delete={row.id} aria-label={`Delete ${row.name}`} title={working ? "Stop it first" : `Delete ${row.name}`} disabled={working || going} onClick={onAsk}>✕</button>
        )}
      </td>
    </tr>
  );
}

function cells(row: Row): ComponentChildren[] {
  const [loss, half] = deltaParts(row);
  const number = (value: number | null, digits = 3) => (value === null ? "–" : significant(value, digits));
  return [
    row.perplexity === null ? "–" : row.perplexity > 1e6 ? short(row.perplexity) : significant(row.perplexity, 4),
    <>{loss} <span class="cv-half">{half}</span></>,
    number(row.mean_steps),
    number(row.code_bits),
    number(row.storage_bits),
    number(row.ace),
    row.seconds === null ? "–" : duration(row.seconds),
  ];
}
