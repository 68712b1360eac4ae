// One row of the table of runs; drawn again only when what it shows changed.
import { Component } from "preact";
import { duration as spent, energy, percent, short, significant, whole } from "../core/format";
import { share } from "../core/run_actions";
import { ACTIVE, born, duration, type Row } from "../core/run_rows";
import { StateChip } from "../ui/parts";
import { clock } from "./clock";

export type RowProps = {
  row: Row;
  /** Its place among all rows, the titles being the first. */
  index: number;
  ticked: boolean;
  current: boolean;
  focused: boolean;
  pending: string | null;
  /** Now, for rows whose duration grows; the start of the day for the others. */
  now: number;
  onTick: (id: string, range: boolean) => void;
  onOpen: (id: string) => void;
};

const digits = (value: number | null) => (typeof value === "number" && Number.isFinite(value) ? significant(value, 4) : "–");

export class RunRow extends Component<RowProps> {
  override shouldComponentUpdate(next: RowProps) {
    const keys = Object.keys(next) as (keyof RowProps)[];
    return keys.some((key) => next[key] !== this.props[key]);
  }

  override render() {
    const { row, index, ticked, current, focused, pending, now, onTick, onOpen } = this.props;
    const done = share(row);
    const clicked = (event: MouseEvent) => {
      if (event.shiftKey || event.ctrlKey || event.metaKey) onTick(row.id, event.shiftKey);
      else onOpen(row.id);
    };
    return (
      <tr data-id={row.id} aria-rowindex={index} aria-selected={ticked} data-current={current} tabIndex={focused ? 0 : -1} onClick={clicked}>
        <td class="rt-tick" onClick={(event) => { event.stopPropagation(); onTick(row.id, event.shiftKey); }}>
          <input type="checkbox" tabIndex={-1} checked={ticked} aria-label={`Tick ${row.name}`} />
        </td>
        <td class="rt-state">{pending ? <span class="dk-muted">{pending}</span> : <StateChip state={row.state} title={row.reason ?? row.state} />}</td>
        <td class="rt-name" title={row.reason ? `${row.id}\n${row.reason}` : row.id}>
          <span class="rt-run">{row.name}</span><span class="rt-tail dk-mono">{row.id.slice(-4)}</span>
          {row.reason && (row.state === "lost" || row.state === "failed") && <span class="rt-reason">{row.reason}</span>}
        </td>
        <td class="rt-progress" title={row.eta_s === null ? undefined : `${spent(row.eta_s)} left`}>
          <span class="rt-bar"><i data-state={row.state} style={{ width: `${100 * (done ?? 0)}%` }} /></span>
          <span class="rt-steps">{row.step === null && !row.total_steps ? "–" : <>{whole(row.step ?? 0)}<span class="rt-total">/{whole(row.total_steps)}</span></>}</span>
        </td>
        <td data-number>{digits(row.loss)}</td>
        <td data-number class="rt-1">{digits(row.bits_per_byte)}</td>
        <td data-number class="rt-2">{percent(row.firing_rate)}</td>
        <td data-number class="rt-2">{energy(row.energy_pj)}</td>
        <td data-number class="rt-3">{short(row.tokens_per_s)}</td>
        <td class="rt-3 rt-when">{row.started === null ? <span class="dk-muted">{clock(born(row.id), now)}</span> : clock(row.started, now)}</td>
        <td data-number class="rt-4">{spent(duration(row, ACTIVE.has(row.state) ? now : 0))}</td>
      </tr>
    );
  }
}
