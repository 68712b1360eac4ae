// What came of a check, an application or a revert: problems by line, parameters, and what was measured before and after.
import { type EditProblem, type Outcome } from "../core/code_edit";
import { ErrorBox, Progress } from "../ui/parts";
import { useEffect, useState } from "preact/hooks";

const DOING = { validate: "Checking", apply: "Applying", revert: "Reverting", spec: "Applying", fork: "Saving" } as const;

export function Running({ outcome, onCancel }: { outcome: Outcome; onCancel: (() => void) | null }) {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 200);
    return () => clearInterval(timer);
  }, []);
  const seconds = Math.max(0, now / 1000 - outcome.started);
  return (
    <div class="ce-running" role="status">
      <div class="dk-row">
        <span class="dk-grow">{outcome.said || `${DOING[outcome.doing]}…`} <span class="dk-muted">{seconds < 100_000 ? `${seconds.toFixed(1)} s` : ""}</span></span>
        {onCancel && <button type="button" class="dk-button" onClick={onCancel}>Cancel</button>}
      </div>
      <Progress share={null} label={DOING[outcome.doing]} />
    </div>
  );
}

type Props = { outcome: Outcome; stale: boolean; onLine: (line: number) => void };

export function Results({ outcome, stale, onLine }: Props) {
  const look = outcome.state === "done" ? "good" : outcome.state === "cancelled" ? "quiet" : "bad";
  const changes = ([["new", outcome.new], ["dropped", outcome.dropped]] as const).filter(([, names]) => names.length);
  return (
    <div class="ce-results" data-look={look} data-stale={stale || undefined}>
      <p class="ce-verdict" role="status">
        <b>{look === "good" ? "✓" : look === "bad" ? "✗" : "–"}</b> {outcome.said}
        {outcome.seconds !== null && <span class="dk-muted"> · {outcome.seconds.toFixed(1)} s</span>}
        {stale && <span class="dk-muted"> · the text has changed since</span>}
      </p>
      {outcome.problems.length > 0 && (
        <ul class="ce-problems">
          {outcome.problems.map((problem, at) => <li key={at}><Found problem={problem} onLine={onLine} /></li>)}
        </ul>
      )}
      {outcome.effect.length > 0 && <Effect outcome={outcome} />}
      {changes.length > 0 && (
        <dl class="ce-parameters" aria-label="Parameters">
          {changes.map(([kind, names]) => [
            <dt key={kind} data-kind={kind}>{names.length} {kind}</dt>,
            <dd key={`${kind}:`} class="dk-mono">{names.join(", ")}</dd>,
          ])}
        </dl>
      )}
      {outcome.kept.length > 0 && (
        <details class="ce-kept">
          <summary>{outcome.kept.length} parameters and buffers kept</summary>
          <p class="dk-mono">{outcome.kept.join(", ")}</p>
        </details>
      )}
      {outcome.notes.map((note) => <p key={note} class="dk-muted">{note}</p>)}
    </div>
  );
}

function Found({ problem, onLine }: { problem: EditProblem; onLine: (line: number) => void }) {
  return (
    <>
      {problem.line !== null && <button type="button" class="ce-line" onClick={() => onLine(problem.line as number)}>line {problem.line}</button>}
      <span class="dk-grow"><ErrorBox problem={problem} /></span>
    </>
  );
}

function Effect({ outcome }: { outcome: Outcome }) {
  return (
    <table class="dk-table ce-effect">
      <thead><tr><th>on a small batch</th><th data-number>before</th><th data-number>after</th><th data-number>change</th></tr></thead>
      <tbody>
        {outcome.effect.map((row) => (
          <tr key={row.name}>
            <td>{row.name}</td>
            <td data-number>{row.before}</td>
            <td data-number>{row.after}</td>
            <td data-number class="ce-change" data-better={row.better === null ? undefined : row.better}>{row.change}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
