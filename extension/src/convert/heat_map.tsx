// Where a conversion errs: every layer a cell, blocks from left to right.
import { useRef, useState } from "preact/hooks";
import { type Block, errorText, type Heat, heatMap, heatShare, isLogarithmic, type Layer } from "../core/convert";
import { significant } from "../core/format";
import { useWidth } from "./width";

const NAMES: Record<Heat, string> = { error: "output error", mean_steps: "spike steps", weight_bits: "weight bits", storage_bits: "stored bits" };
const ROW = 22, SIDE = 104, LEAST = 4;

export function HeatMapView({ blocks, count, heat, heats, onHeat }: {
  blocks: Block[];
  count: number;
  heat: Heat;
  heats: readonly Heat[];
  onHeat: (heat: Heat) => void;
}) {
  const box = useRef<HTMLDivElement>(null);
  const width = useWidth(box, 640);
  const [over, setOver] = useState<[number, number] | null>(null);
  const map = heatMap(blocks, count);
  const values = map.cells.flat().filter((cell): cell is Layer => cell !== null).map((cell) => cell[heat]);
  const low = Math.min(...values), high = Math.max(...values);
  const columns = map.cells[0]?.length ?? 0;
  const side = Math.min(SIDE, Math.max(64, ...map.rows.map((row) => 6.4 * short(row).length + 10)));
  const cell = Math.max(LEAST, Math.min(150, (width - side - 4) / Math.max(1, columns)));
  const height = ROW * map.rows.length + 20;
  const every = Math.max(1, Math.ceil(24 / cell));
  const pointed = over ? map.cells[over[0]]?.[over[1]] ?? null : null;
  return (
    <figure class="cv-chart" ref={box}>
      <figcaption>
        <b>Layer by layer</b>
        <span class="dk-grow" />
        <label class="cv-pick">colour <select class="dk-input" aria-label="What the colours show" value={heat} onChange={(event) => onHeat(event.currentTarget.value as Heat)}>
          {heats.map((name) => <option key={name} value={name}>{NAMES[name]}</option>)}
        </select></label>
        <span class="cv-scale" title={isLogarithmic(values) ? "Colours follow the logarithm" : undefined}>{low === high ? <span>all {text(heat, low)}</span> : <><span>{text(heat, low)}</span><i aria-hidden="true" /><span>{text(heat, high)}</span></>}</span>
      </figcaption>
      <div class="cv-heat-scroll">
        <svg width={Math.max(width, side + LEAST * columns)} height={height} role="img" aria-label={`${NAMES[heat]} of every layer, ${map.rows.length} layers by ${columns} blocks`} onMouseLeave={() => setOver(null)}>
          {map.rows.map((row, r) => (
            <g key={row}>
              <text class="cv-tick" x={side - 8} y={ROW * r + 15} text-anchor="end">{short(row)}</text>
              {(map.cells[r] ?? []).map((layer, c) => (
                <Cell
                  key={c}
                  x={side + cell * c}
                  y={ROW * r}
                  width={cell}
                  share={layer ? heatShare(layer[heat], values) : null}
                  label={layer && cell >= 44 ? text(heat, layer[heat]) : ""}
                  over={over !== null && over[0] === r && over[1] === c}
                  onOver={() => setOver([r, c])}
                />
              ))}
            </g>
          ))}
          <text class="cv-tick" x={side - 8} y={height - 4} text-anchor="end">block</text>
          {Array.from({ length: columns }, (_, c) => c % every === 0 && (
            <text key={c} class="cv-tick" x={side + cell * (c + 0.5)} y={height - 4} text-anchor="middle">{c}</text>
          ))}
        </svg>
      </div>
      <div class="cv-reading">{pointed ? reading(pointed) : "Point at a cell to read it."}</div>
    </figure>
  );
}

function Cell({ x, y, width, share, label, over, onOver }: {
  x: number; y: number; width: number; share: number | null; label: string; over: boolean; onOver: () => void;
}) {
  if (share === null) return <rect class="cv-cell-none" x={x + 1} y={y + 1} width={Math.max(1, width - 2)} height={ROW - 2} rx={2} />;
  return (
    <g onMouseEnter={onOver} data-over={over} class="cv-cell">
      <rect x={x + 1} y={y + 1} width={Math.max(1, width - 2)} height={ROW - 2} rx={2} style={{ fill: `color-mix(in oklab, var(--cv-heat-low), var(--cv-heat-high) ${Math.round(100 * share)}%)` }} />
      {label && <text class="cv-cell-text" data-strong={share > 0.64} x={x + width / 2} y={y + 15} text-anchor="middle">{label}</text>}
    </g>
  );
}

function short(row: string): string {
  return row.slice(row.lastIndexOf(".") + 1);
}

function text(heat: Heat, value: number): string {
  if (!Number.isFinite(value)) return "–";
  return heat === "error" ? errorText(value) : significant(value, 3);
}

function reading(layer: Layer): string {
  return [
    layer.name,
    `error ${errorText(layer.error)}`,
    `${significant(layer.mean_steps, 3)} steps`,
    `${significant(layer.weight_bits, 3)} bits a weight (${significant(layer.storage_bits, 3)} stored)`,
    `${layer.in_features} → ${layer.out_features}`,
  ].join(" · ");
}
