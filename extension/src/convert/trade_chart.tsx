// Quality against operations: every converted model a point that can be chosen, the float model a line to look down to.
import { useRef, useState } from "preact/hooks";
import { alongLine, type Box, deltaText, frontier, lossOf, lossScale, placeLabels, type Row, spread } from "../core/convert";
import { significant } from "../core/format";
import { useWidth } from "./width";

const HEIGHT = 300, LEFT = 58, RIGHT = 16, TOP = 26, BOTTOM = 44;
const ACROSS = {
  ace: "ACE: weight bits × step bits × steps of a product",
  storage_bits: "stored bits of a weight",
  mean_steps: "spike steps of an activation",
  code_bits: "code bits of an activation",
} as const;
const UP = { delta: "Δ bits/byte", perplexity: "perplexity", bits_per_byte: "bits per byte" } as const;
type Across = keyof typeof ACROSS;
type Up = keyof typeof UP;

export function TradeChart({ rows, chosen, onChoose }: { rows: Row[]; chosen: string; onChoose: (id: string) => void }) {
  const box = useRef<HTMLDivElement>(null);
  const width = useWidth(box, 640);
  const [across, setAcross] = useState<Across>("ace");
  const [up, setUp] = useState<Up>("delta");
  const [over, setOver] = useState<string | null>(null);
  const float = rows.find((row) => row.float);
  const reference = rows.find((row) => row.reference);
  const height = (row: Row) => (up === "delta" ? lossOf(row) : row[up]);
  const found = rows.filter((row) => !row.float && row[across] !== null && height(row) !== null);
  const xs = found.map((row) => row[across] as number), ys = found.map((row) => height(row) as number);
  const title = up === "delta" && reference ? `${UP.delta} against ${reference.name}` : UP[up];
  const floor = HEIGHT - BOTTOM, right = width - RIGHT;
  const x = spread(xs, LEFT + 14, right - 14);
  const losses = up === "delta" ? lossScale(reference && float ? [float, ...found] : found, floor, TOP) : null;
  const base = !losses ? float?.[up] ?? null : reference ? float?.delta ?? null : losses.zero ? 0 : null;
  const y = losses ?? spread(base === null ? ys : [base, ...ys], floor, TOP);
  const points = found.map((row) => ({ id: row.id, row, x: x.of(row[across] as number), y: y.of(height(row) as number) }));
  const best = frontier(points.map((point) => ({ id: point.id, x: point.x, y: -point.y }))).map((point) => ({ ...point, y: -point.y }));
  const names = new Map(points.map((point) => [point.id, point.row.name]));
  const inside = { left: LEFT, right: width, top: 14, bottom: floor };
  const lettered = points.map(({ id, x, y }) => ({ id, x, y, width: 6.6 * (names.get(id)?.length ?? 0) }));
  const floatName: Box[] = base === null ? [] : [[right - 76, y.of(base) + 2, right, y.of(base) + 17]];
  const labels = placeLabels(lettered, inside, floatName, alongLine(best));
  const shown = found.find((row) => row.id === (over ?? chosen));
  return (
    <figure class="cv-chart" ref={box}>
      <figcaption>
        <b>Quality against cost</b>
        <span class="dk-grow" />
        <label class="cv-pick">up <Pick value={up} options={UP} onPick={setUp} label="What the chart shows upwards" /></label>
        <label class="cv-pick">across <Pick value={across} options={ACROSS} onPick={setAcross} label="What the chart shows across" /></label>
      </figcaption>
      <svg width={width} height={HEIGHT} role="group" aria-label={`${title} over ${ACROSS[across]}`}>
        {y.ticks.map((tick) => (
          <g key={tick}>
            <line class="cv-grid" x1={LEFT} x2={right} y1={y.of(tick)} y2={y.of(tick)} />
            <text class="cv-tick" x={LEFT - 8} y={y.of(tick) + 4} text-anchor="end">{plain(tick)}</text>
          </g>
        ))}
        {x.ticks.map((tick) => <text key={tick} class="cv-tick" x={x.of(tick)} y={floor + 16} text-anchor="middle">{plain(tick)}</text>)}
        <line class="cv-axis" x1={LEFT} x2={right} y1={floor} y2={floor} />
        <text class="cv-axis-title" x={0} y={11}>{title}</text>
        <text class="cv-axis-title" x={(LEFT + right) / 2} y={HEIGHT - 8} text-anchor="middle">{width < 460 ? ACROSS[across].split(":")[0] : ACROSS[across]}</text>
        {base !== null && (
          <g>
            <line class="cv-float" x1={LEFT} x2={right} y1={y.of(base)} y2={y.of(base)} />
            <text class="cv-float-name" x={right} y={y.of(base) + 14} text-anchor="end">{losses ? "float" : `float ${significant(base, 4)}`}</text>
          </g>
        )}
        {losses && reference && <line class="cv-axis" x1={LEFT} x2={right} y1={y.of(0)} y2={y.of(0)} />}
        {losses && !losses.zero && <text class="cv-float-name" x={right} y={floor - 6} text-anchor="end">float at 0, below</text>}
        {losses && points.map(({ id, row, x }) => <Interval key={id} x={x} low={row.low} high={row.high} of={losses.of} floor={floor} />)}
        {best.length > 1 && <path class="cv-frontier" d={`M${best.map((point) => `${point.x} ${point.y}`).join("L")}`} />}
        {points.map((point) => (
          <g
            key={point.id}
            class="cv-point"
            role="button"
            tabIndex={0}
            data-chosen={point.id === chosen}
            aria-pressed={point.id === chosen}
            aria-label={`${point.row.name}: ${losses ? lossText(point.row, reference) : `${UP[up]} ${significant(point.row[up] as number, 4)}`}`}
            onClick={() => onChoose(point.id)}
            onKeyDown={(event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); onChoose(point.id); } }}
            onMouseEnter={() => setOver(point.id)}
            onMouseLeave={() => setOver(null)}
          >
            <circle class="cv-point-room" cx={point.x} cy={point.y} r={12} />
            <circle class="cv-point-dot" cx={point.x} cy={point.y} r={point.id === chosen ? 6.5 : 5} />
          </g>
        ))}
        {labels.map((label) => (
          <text key={label.id} class="cv-point-name" data-chosen={label.id === chosen} x={label.x} y={label.y} text-anchor={label.anchor}>{names.get(label.id)}</text>
        ))}
      </svg>
      <div class="cv-reading">{shown ? reading(shown, reference) : "Every point is a converted model; choose one to look into it."}</div>
    </figure>
  );
}

/** The 95 % interval of a loss: where the true one is with that certainty. */
function Interval({ x, low, high, of, floor }: { x: number; low: number | null; high: number | null; of: (value: number) => number; floor: number }) {
  if (low === null || high === null) return null;
  const at = (value: number) => Math.min(floor, Number.isFinite(of(value)) ? of(value) : floor); // zero has no logarithm
  return <path class="cv-interval" d={`M${x - 4} ${at(low)}h8M${x} ${at(low)}V${at(high)}M${x - 4} ${at(high)}h8`} />;
}

function Pick<T extends string>({ value, options, onPick, label }: { value: T; options: Record<T, string>; onPick: (value: T) => void; label: string }) {
  return (
    <select class="dk-input" aria-label={label} value={value} onChange={(event) => onPick(event.currentTarget.value as T)}>
      {(Object.keys(options) as T[]).map((name) => <option key={name} value={name}>{options[name].split(":")[0]}</option>)}
    </select>
  );
}

/** What it lost, and to whom where that is not the float model. */
function lossText(row: Row, reference: Row | undefined): string {
  if (row.reference) return "the others are put beside it";
  return `${deltaText(row)} bits/byte${reference ? ` against ${reference.name}` : ""}`;
}

function reading(row: Row, reference: Row | undefined): string {
  const parts = [
    row.name,
    row.perplexity === null ? "" : `perplexity ${significant(row.perplexity, 4)}`,
    lossOf(row) === null ? "" : lossText(row, reference),
    row.ace === null ? "" : `ACE ${significant(row.ace, 3)} of 256`,
    row.storage_bits === null ? "" : `${significant(row.storage_bits, 3)} bits a weight`,
  ];
  return parts.filter(Boolean).join(" · ");
}

function plain(value: number): string {
  return Math.abs(value) >= 1e5 ? value.toExponential(0) : String(Number(value.toPrecision(4)));
}
