// Runs side by side: scores with the best marked, then the settings that differ.
import { Button } from "../ui/parts";

type Line = [title: string, cells: string[], best: number[]];
export type Comparison = { runs: string[]; names: string[]; scores: Line[]; settings: Line[] };

export function Compared({ found, onClose }: { found: Comparison; onClose: () => void }) {
  const lines = (rows: Line[]) => rows.map(([title, cells, best]) => (
    <tr key={title}>
      <th scope="row">{title}</th>
      {cells.map((cell, at) => (
        <td key={at} data-best={best.includes(at)} data-number>{cell}{best.includes(at) && <span class="dk-hidden"> (best)</span>}</td>
      ))}
    </tr>
  ));
  return (
    <section class="rt-compared" aria-label="Comparison">
      <div class="dk-row">
        <h3 class="dk-title dk-grow">{found.runs.length} runs compared</h3>
        <Button kind="quiet" aria-label="Close the comparison" onClick={onClose}>✕</Button>
      </div>
      <div class="rt-scroll rt-compared-scroll" tabIndex={0} role="region" aria-label="Scores and settings">
        <table class="dk-table">
          <thead><tr><th /><>{found.names.map((name, at) => <th key={found.runs[at]} data-number title={found.runs[at]}>{name}</th>)}</></tr></thead>
          <tbody>
            {lines(found.scores)}
            <tr class="rt-part"><th scope="rowgroup" colSpan={found.runs.length + 1}>{found.settings.length ? "settings that differ" : "their settings are the same"}</th></tr>
            {lines(found.settings)}
          </tbody>
        </table>
      </div>
    </section>
  );
}
