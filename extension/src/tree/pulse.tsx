// The run behind a tree: what it does, and of which step the firing rates are; and how a module fired so far.
import { percent, whole } from "../core/format";
import { Progress, StateChip } from "../ui/parts";
import { type Model, useTrait } from "../ui/widget";

/** The `pulse` trait: a run that is followed. */
export type Pulse = {
  run: string;
  state: string;
  reason: string;
  step: number | null;
  total_steps: number | null;
  measured: number | null;
  waiting: string;
};

const WAITING: Record<string, string> = { waiting: "asking the run for its tree …", running: "the run opens its model …" };

export function PulseStrip({ pulse }: { pulse: Pulse }) {
  const { run, state, reason, step, total_steps: total, measured, waiting } = pulse;
  const active = state === "running" || state === "starting";
  return (
    <div class="mt-pulse" role="status" aria-label={`Run ${run}`}>
      <StateChip state={state} title={reason} />
      <strong>{run}</strong>
      {step !== null && <span>step {whole(step)}{total ? <span class="dk-muted"> of {whole(total)}</span> : ""}</span>}
      {waiting
        ? <span class="mt-waiting"><Progress share={null} label={WAITING[waiting] ?? waiting} /><span class="dk-muted">{WAITING[waiting]}</span></span>
        : <span class="dk-muted">{told(active, measured)}</span>}
    </div>
  );
}

function told(active: boolean, measured: number | null): string {
  if (measured === null) return active ? "no firing rates measured yet; the tree shows those of its trace" : "no firing rates were measured; the tree shows those of its trace";
  return `${active ? "firing rates" : "last firing rates"} of step ${whole(measured)}`;
}

type Course = { path: string; steps: DataView; rates: DataView };

const WIDTH = 260, HEIGHT = 44;

/** The firing rate of the chosen module over the steps of its run. */
export function CourseLine({ model, path }: { model: Model; path: string }) {
  const course = useTrait<Course | null>(model, "course");
  if (course?.path !== path) return null;
  const steps = new Int32Array(own(course.steps));
  const rates = new Float32Array(own(course.rates));
  const known = [...rates].filter((rate) => !Number.isNaN(rate));
  if (known.length < 2) return null;
  const [low, high] = [Math.min(...known), Math.max(...known)];
  const [first, last] = [steps[0] as number, steps[steps.length - 1] as number];
  const x = (at: number) => (WIDTH * ((steps[at] as number) - first)) / Math.max(1, last - first);
  const y = (rate: number) => 3 + (HEIGHT - 6) * (high > low ? (high - rate) / (high - low) : 0.5);
  const line = [...rates].map((rate, at) => (Number.isNaN(rate) ? "" : `${at && !Number.isNaN(rates[at - 1] as number) ? "L" : "M"}${x(at).toFixed(1)} ${y(rate).toFixed(1)}`)).join("");
  return (
    <figure class="mt-course">
      <figcaption class="dk-muted">firing rate, step {whole(first)} to {whole(last)}</figcaption>
      <div>
        <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} width={WIDTH} height={HEIGHT} role="img" aria-label={`Firing rate from ${percent(rates[0] as number)} to ${percent(known[known.length - 1] as number)}`}>
          <path d={line} />
          <circle cx={x(rates.length - 1)} cy={y(known[known.length - 1] as number)} r="2.5" />
        </svg>
        <span class="dk-muted"><span>{percent(high)}</span><span>{percent(low)}</span></span>
      </div>
    </figure>
  );
}

/** Bytes as a buffer of their own, wherever the message had them. */
function own(view: DataView): ArrayBuffer {
  return view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength) as ArrayBuffer;
}
