// DataPreview: counts, what training reads of them, one window token by token, some documents.
import "./data_preview.css";
import { useState } from "preact/hooks";
import { hueOf, visible } from "../core/tokens";
import { Button, ErrorBox, Progress, Tabs } from "../ui/parts";
import { type Model, type Problem, useAsk, useTrait, widget } from "../ui/widget";

type Stage = { name: "idle" | "working" | "waiting" | "failed"; what?: string; fraction?: number | null; dataset?: string; tokenizer?: string };
type Token = [id: number, text: string, special: boolean, learnt: boolean];
type Report = { title: string; headers: string[]; rows: string[][]; notes: string[]; documents: string[]; window: Token[] };

function DataPreview({ model }: { model: Model }) {
  const stage = useTrait<Stage>(model, "stage");
  const report = useTrait<Report | null>(model, "report");
  const problem = useTrait<Problem | null>(model, "problem");
  const ask = useAsk(model);
  return (
    <div class="dk-card dk-data" data-stale={Boolean(report) && stage.name !== "idle"}>
      <div class="dk-row dk-data-head">
        <h3 class="dk-title dk-grow">{report?.title ?? "Data"}</h3>
        <Status stage={stage} ask={ask} />
      </div>
      <div class="dk-data-bar">{stage.name === "working" && <Progress share={stage.fraction ?? null} label="Preparation of the data" />}</div>
      <ErrorBox problem={problem} onDismiss={() => ask("dismiss")} />
      {report ? <Body report={report} /> : <div class="dk-empty">{stage.name === "working" ? "Looking at the data …" : "Nothing looked at yet."}</div>}
    </div>
  );
}

function Status({ stage, ask }: { stage: Stage; ask: (name: string) => void }) {
  if (stage.name === "working")
    return (
      <>
        <span class="dk-muted" role="status">{stage.what ? `${stage.what} ${stage.fraction ? `${Math.round(100 * stage.fraction)} %` : ""}` : ""}</span>
        <Button onClick={() => ask("cancel")}>Cancel</Button>
      </>
    );
  if (stage.name === "waiting")
    return (
      <>
        <span class="dk-muted">{stage.dataset ? `${stage.dataset} may have to be downloaded` : "cancelled"}</span>
        <Button kind="primary" onClick={() => ask("look")}>Look at it</Button>
      </>
    );
  return <Button onClick={() => ask("look")}>{stage.name === "failed" ? "Try again" : "Look again"}</Button>;
}

function Body({ report }: { report: Report }) {
  const names = ["First window", ...report.documents.map((_, index) => `Document ${index + 1}`)];
  const [selected, setSelected] = useState("First window");
  const shown = names.includes(selected) ? selected : "First window";
  const document = report.documents[names.indexOf(shown) - 1];
  return (
    <div class="dk-stack">
      <div class="dk-data-table">
        <table class="dk-table">
          <thead><tr>{report.headers.map((header, column) => <th key={header} data-number={column > 0 || undefined}>{header}</th>)}</tr></thead>
          <tbody>
            {report.rows.map((row) => (
              <tr key={row[0]}>{row.map((cell, column) => <td key={column} data-number={column > 0 || undefined}>{cell}</td>)}</tr>
            ))}
          </tbody>
        </table>
      </div>
      {report.notes.map((note) => <div key={note} class="dk-muted">{note}</div>)}
      <Tabs names={names} selected={shown} onSelect={setSelected} label="What the model reads" />
      {document === undefined ? <Window tokens={report.window} /> : <pre class="dk-code dk-data-text" tabIndex={0} aria-label={shown}>{document}</pre>}
    </div>
  );
}

function Window({ tokens }: { tokens: Token[] }) {
  return (
    <div class="dk-tokens dk-data-text" tabIndex={0} aria-label="Tokens of the first window">
      {tokens.map(([id, text, special, learnt], index) => (
        <span
          key={index}
          class="dk-token"
          data-special={special}
          data-learnt={learnt}
          style={{ "--hue": hueOf(id) }}
          title={`id ${id}${special ? ", special" : ""}${learnt ? "" : ", not learnt"}`}
        >
          {visible(text)}
        </span>
      ))}
    </div>
  );
}

export default widget(DataPreview);
