// The error of every block as it is done: a bar each, the part the block adds by itself darker.
import { useRef, useState } from "preact/hooks";
import { type Block, errorText, errorTick, linear, logarithmic } from "../core/convert";
import { duration, short } from "../core/format";
import { useWidth } from "./width";

const HEIGHT = 196, LEFT = 52, TOP = 14, BOTTOM = 34;

const SCALES = ["linear", "logarithmic"] as const;
type Scale = (typeof SCALES)[number];

export function BlockChart({ blocks, count, working, idle }: { blocks: Block[]; count: number; working: boolean; idle: string }) {
  const box = useRef<HTMLDivElement>(null);
  const width = useWidth(box, 640);
  const [over, setOver] = useState<number | null>(null);
  const slots = Math.max(count, 1);
  const floor = HEIGHT - BOTTOM;
  const [scale, setScale] = useState<Scale>("linear");
  const y = scaleOf(scale, blocks, floor);
  const pitch = Math.max(1, (width - LEFT - 8) / slots); // a page that is being laid out has no room at all
  const bar = Math.max(2, Math.min(46, 0.68 * pitch));
  const middle = (index: number) => LEFT + pitch * (index + 0.5);
  const every = Math.max(1, Math.ceil(26 / pitch));
  const shown = blocks.find((block) => block.index === over) ?? null;
  return (
    <figure class="cv-chart" ref={box}>
      <figcaption>
        <b>Error of each block</b>
        <span class="cv-key"><span><i data-key="block" />with what came before</span> <span><i data-key="own" />added by itself</span></span>
        <span class="dk-grow" />
        <label class="cv-pick">scale <select class="dk-input" aria-label="Scale of the errors" value={scale} onChange={(event) => setScale(event.currentTarget.value as Scale)}>
          {SCALES.map((name) => <option key={name} value={name}>{name}</option>)}
        </select></label>
      </figcaption>
      <svg width={width} height={HEIGHT} role="img" aria-label={described(blocks, count)} onMouseLeave={() => setOver(null)}>
        {blocks.length > 0 && y.ticks.map((tick) => (
          <g key={tick}>
            <line class="cv-grid" x1={LEFT} x2={width - 8} y1={y.of(tick)} y2={y.of(tick)} />
            <text class="cv-tick" x={LEFT - 8} y={y.of(tick) + 4} text-anchor="end">{errorTick(tick)}</text>
          </g>
        ))}
        {Array.from({ length: count }, (_, index) => {
          const block = blocks.find((each) => each.index === index);
          const next = working && !block && index === blocks.length;
          return (
            <g key={index} class="cv-slot" data-over={over === index} onMouseEnter={() => setOver(index)}>
              <rect class="cv-hit" x={LEFT + pitch * index} y={TOP} width={pitch} height={floor - TOP} />
              {block ? <Bar block={block} x={middle(index) - bar / 2} width={bar} floor={floor} of={y.of} /> : (
                <rect class="cv-ghost" data-next={next} x={middle(index) - bar / 2} y={floor - 10} width={bar} height={10} rx={2} />
              )}
              {index % every === 0 && <text class="cv-tick" x={middle(index)} y={floor + 16} text-anchor="middle">{index}</text>}
            </g>
          );
        })}
        <line class="cv-axis" x1={LEFT} x2={width - 8} y1={floor} y2={floor} />
      </svg>
      <div class="cv-reading">{shown ? reading(shown) : blocks.length ? "Point at a bar to read it." : idle}</div>
    </figure>
  );
}

/** A block that comes after one with a large error hides what it adds itself, unless the axis is a logarithm. */
function scaleOf(scale: Scale, blocks: Block[], floor: number) {
  if (scale === "linear") return linear(blocks.map((block) => block.error), floor, TOP, true);
  return logarithmic(blocks.flatMap((block) => [block.error, block.own_error ?? block.error]), floor, TOP);
}

function Bar({ block, x, width, floor, of }: { block: Block; x: number; width: number; floor: number; of: (value: number) => number }) {
  const at = (value: number, least: number) => Math.min(floor - least, Number.isFinite(of(value)) ? of(value) : floor); // zero has no logarithm
  const top = at(block.error, 1.5);
  const own = block.own_error === null ? null : at(Math.min(block.own_error, block.error), 1);
  return (
    <>
      <rect class="cv-bar" data-block={block.index} x={x} y={top} width={width} height={floor - top} rx={Math.min(3, width / 3)} />
      {own !== null && <rect class="cv-bar-own" x={x} y={own} width={width} height={floor - own} rx={Math.min(3, width / 3)} />}
    </>
  );
}

function reading(block: Block): string {
  const worst = block.layers.reduce<Block["layers"][number] | null>((found, layer) => (!found || layer.error > found.error ? layer : found), null);
  const parts = [
    `block ${block.index}: ${errorText(block.error)}`,
    block.own_error === null ? "" : `${errorText(block.own_error)} by itself`,
    worst ? `worst layer ${worst.name.slice(worst.name.lastIndexOf(".") + 1)} ${errorText(worst.error)}` : "",
    block.resumed ? "taken over" : brief(block.seconds),
    block.peak_bytes ? short(block.peak_bytes, "B") : "",
  ];
  return parts.filter(Boolean).join(" · ");
}

/** Blocks of small models take less than a second. */
export function brief(seconds: number): string {
  return seconds < 1 ? "< 1 s" : duration(seconds);
}

function described(blocks: Block[], count: number): string {
  if (!blocks.length) return `No block of ${count} is done yet`;
  return `Error of ${blocks.length} of ${count} blocks: ${blocks.map((block) => `block ${block.index} ${errorText(block.error)}`).join(", ")}`;
}
