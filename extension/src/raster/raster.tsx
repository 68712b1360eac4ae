// One layer's spikes as pictures: what fires how much, the panels, the cell under the cursor, and how to read it all.
import "./raster.css";
import { useCallback, useEffect, useMemo, useRef, useState } from "preact/hooks";
import { percent, significant } from "../core/format";
import { type PlotStyle, plotBox } from "../core/raster_plot";
import type { Ramps } from "../core/spike_colour";
import { moved, showing, type SpikePicture, type View, zoomed } from "../core/spike_picture";
import { Button } from "../ui/parts";
import { type Cell, Panel, panelTitle } from "./panel";
import { TokenCard } from "./token_card";

export function Facts({ picture, step }: { picture: SpikePicture; step: number | null }) {
  const { rate, features, heads, steps, levels, signed, coding, tokens } = picture.facts;
  const salient = picture.salient.reduce((sum, each) => sum + each, 0);
  return (
    <p class="sr-facts">
      <span title="A slot is one feature in one step of one token"><strong class="sr-rate">{percent(rate)}</strong> of the slots fire</span>
      <span>{tokens} tokens × {features} features{heads > 1 ? ` in ${heads} heads` : ""}</span>
      {salient > 0 && <span><i class="sr-salient" /> {salient} salient, with {steps} steps ({coding})</span>}
      <span>a spike has level {signed ? `−${levels - 1} … ${levels - 1}` : `0 … ${levels - 1}`}</span>
      {step !== null && <span>weights of step {step}</span>}
    </p>
  );
}

/** The pictures of one layer: all spikes, then step by step, sharing one view, cursor and pinned token. */
export function Raster({ picture, labels, ramps, theme }: { picture: SpikePicture; labels: string[]; ramps: Ramps; theme: string }) {
  const { tokens, features } = picture.facts;
  const whole = useMemo<View>(() => ({ tokens: [0, tokens], features: [0, features] }), [tokens, features]);
  const [view, setView] = useState(whole);
  const [cursor, setCursor] = useState<Cell | null>(null);
  const [pinned, setPinned] = useState<number | null>(null);
  const [salientFirst, setSalientFirst] = useState(false);
  useEffect(() => setView(whole), [whole]);
  const root = useRef<HTMLDivElement>(null);
  const width = useWidth(root);
  const style = usePlotStyle(root, theme, width);
  const order = useMemo(() => picture.order(salientFirst), [picture, salientFirst]);
  const panels = picture.panels;
  const columns = columnsFor(width, panels.length, tokens);
  const longest = Math.min(11, Math.max(...labels.map((label) => [...label].length)));
  const box = useMemo(() => plotBox((width - (columns - 1) * 18) / columns, tokens, longest), [width, columns, tokens, longest]);
  const marks = useMemo(() => ({ token: cursor?.token ?? null, row: cursor?.row ?? null, pinned }), [cursor, pinned]);
  const zoom = useCallback((factor: number, at: { x: number; y: number }) => {
    setView((now) => zoomed(now, factor, at, whole, { tokens: 8, features: 16 }));
  }, [whole]);
  const move = useCallback((by: number, rows: number) => setView((now) => moved(now, by, rows, whole)), [whole]);
  const pick = (cell: Cell) => setPinned((now) => (now === cell.token ? null : cell.token));
  const key = (event: KeyboardEvent) => {
    const used = pressed(event, cursor ?? { token: view.tokens[0], row: view.features[0] }, whole);
    if (!used) return;
    event.preventDefault();
    event.stopPropagation();
    if (used.cell) { setCursor(used.cell); setView((now) => showing(now, used.cell.token, used.cell.row, whole)); }
    if (used.zoom) zoom(used.zoom, { x: 0.5, y: 0.5 });
    if (used.whole) setView(whole);
    if (used.pick && cursor) pick(cursor);
    if (used.leave) { setPinned(null); setCursor(null); }
  };
  const isWhole = view.tokens[1] - view.tokens[0] === tokens && view.features[1] - view.features[0] === features;
  return (
    <div class="dk-stack" ref={root}>
      {width > 0 && (
        <div class="sr-panels" style={{ gridTemplateColumns: `repeat(${columns}, max-content)` }}>
          {panels.map((each) => (
            <figure key={each} class="sr-panel">
              <figcaption style={{ width: `${box.width}px` }}>
                <strong>{panelTitle(picture, each)}</strong>
                <Scale picture={picture} ramps={ramps} top={picture.top(each)} />
              </figcaption>
              <Panel
                picture={picture} step={each} order={order} labels={labels} view={view} box={box} ramps={ramps} style={style} marks={marks}
                onHover={setCursor} onPick={pick} onZoom={zoom} onMove={move} onKey={key}
              />
            </figure>
          ))}
        </div>
      )}
      <Readout picture={picture} labels={labels} order={order} cursor={cursor} />
      <div class="dk-row sr-tools">
        {picture.salient.length > 0 && (
          <label><input type="checkbox" checked={salientFirst} onChange={(event) => setSalientFirst(event.currentTarget.checked)} /> salient features on top</label>
        )}
        <span class="dk-grow" />
        <Button kind="quiet" aria-label="Zoom in" title="Zoom in (+, or the wheel over a picture in focus)" onClick={() => zoom(1.6, { x: 0.5, y: 0.5 })}>+</Button>
        <Button kind="quiet" aria-label="Zoom out" title="Zoom out (−)" onClick={() => zoom(1 / 1.6, { x: 0.5, y: 0.5 })}>−</Button>
        <Button kind="quiet" aria-disabled={isWhole} title="Show everything (0)" onClick={() => setView(whole)}>Show all</Button>
      </div>
      {pinned !== null && pinned < tokens && (
        <TokenCard picture={picture} token={pinned} label={labels[pinned] ?? ""} ramps={ramps} onClose={() => setPinned(null)} />
      )}
      <HowToRead picture={picture} />
    </div>
  );
}

function Scale({ picture, ramps, top }: { picture: SpikePicture; ramps: Ramps; top: number }) {
  const ramp = (colours: string[]) => ({ background: `linear-gradient(90deg, ${colours.join(", ")})` });
  return (
    <span class="sr-scale" title="Colour of a dot: how many spikes the feature sent. Silence has no dot.">
      {picture.facts.signed && <>−{top} <i style={ramp([...ramps.negative].reverse())} /></>}
      {!picture.facts.signed && "1 "}
      <i style={ramp(ramps.positive)} /> {top}
    </span>
  );
}

/** One line whose place is kept: what the cell under the cursor is. */
function Readout({ picture, labels, order, cursor }: { picture: SpikePicture; labels: string[]; order: Uint32Array; cursor: Cell | null }) {
  const feature = cursor ? order[cursor.row] : undefined;
  if (!cursor || feature === undefined || cursor.token >= picture.facts.tokens) {
    return <p class="sr-readout dk-muted">Point at a dot to read it; click a token to pin it.</p>;
  }
  const count = picture.count(cursor.token, feature);
  const { heads, features } = picture.facts;
  const salient = picture.isSalient(feature);
  const sent = picture.panels.filter((step) => step >= 0).map((step) => picture.level(count, step));
  const wide = features / heads;
  return (
    <p class="sr-readout" role="status">
      <span>token {cursor.token + 1} <span class="dk-mono sr-chip">{labels[cursor.token]}</span></span>
      <span>{heads > 1 ? `head ${Math.floor(feature / wide) + 1}, ` : ""}feature {heads > 1 ? feature % wide : feature}{salient ? <b class="sr-is-salient"> salient</b> : ""}</span>
      <span>membrane {significant(picture.charge(cursor.token, feature), 3)} θ</span>
      <span><b>{count === 0 ? "silent" : `${count} ${Math.abs(count) === 1 ? "spike" : "spikes"}`}</b>{count !== 0 && salient ? ` = ${sent.map((level, step) => `${level} in step ${step + 1}`).join(", ")}` : ""}</span>
    </p>
  );
}

function HowToRead({ picture }: { picture: SpikePicture }) {
  const { steps, levels, coding, signed } = picture.facts;
  return (
    <details class="sr-how">
      <summary>How to read this</summary>
      <p>
        Each column is a <b>token</b> of your text, each row one <b>feature</b> of the input of the chosen layer. A <b>dot</b> says
        that this feature fired for this token, and its colour how many spikes it sent. No dot: silence, nothing to compute.
      </p>
      <p>
        Behind every dot is a neuron. Its <b>membrane</b> is the feature’s value in units of the threshold θ
        {signed ? "" : ", counted from the lowest value of its token, so that a value of zero sends some spikes too"}; the nearest
        whole number is what it sends: 7.2 θ gives 7 spikes. One step carries at most {levels - 1}.
      </p>
      {steps > 1 && (
        <p>
          <b>Salient</b> features (<i class="sr-salient" />) are where rounding would hurt most: they get {steps} steps, the others one.
          {coding === "radix"
            ? ` A spike of an early step is worth ${levels} times one of the next.`
            : " The first step is filled first, and what is left goes into the next."}
          {" "}“All spikes” adds the steps up.
        </p>
      )}
      <p class="dk-muted">Where a layer has more features than there are pixels, a pixel shows the strongest of them; zoom in to part them. Arrow keys move, Enter pins a token, + − 0 zoom, Escape lets go.</p>
    </details>
  );
}

type Used = { cell?: undefined; zoom?: number; whole?: boolean; pick?: boolean; leave?: boolean } | { cell: Cell; zoom?: number; whole?: boolean; pick?: boolean; leave?: boolean };

/** What a key means over a panel; null where it is not ours. */
function pressed(event: KeyboardEvent, cell: Cell, whole: View): Used | null {
  const far = event.shiftKey ? 8 : 1;
  const to = (token: number, row: number): Used => ({
    cell: { token: Math.min(whole.tokens[1] - 1, Math.max(0, cell.token + token)), row: Math.min(whole.features[1] - 1, Math.max(0, cell.row + row)) },
  });
  switch (event.key) {
    case "ArrowLeft": return to(-far, 0);
    case "ArrowRight": return to(far, 0);
    case "ArrowUp": return to(0, -far);
    case "ArrowDown": return to(0, far);
    case "+": case "=": return { zoom: 1.6 };
    case "-": return { zoom: 1 / 1.6 };
    case "0": return { whole: true };
    case "Enter": case " ": return { pick: true };
    case "Escape": return { leave: true };
    default: return null;
  }
}

/** Panels in a row: long texts want all the width there is. */
function columnsFor(width: number, panels: number, tokens: number): number {
  const least = Math.min(340, Math.max(190, tokens * 5));
  return Math.max(1, Math.min(panels, 4, Math.floor((width + 18) / (least + 18))));
}

function useWidth(root: { current: HTMLElement | null }): number {
  const [width, setWidth] = useState(0);
  useEffect(() => {
    const element = root.current;
    if (!element) return;
    const observer = new ResizeObserver(() => { if (element.clientWidth) setWidth(element.clientWidth); });
    observer.observe(element);
    setWidth(element.clientWidth);
    return () => observer.disconnect();
  }, []);
  return width;
}

/** Colours of frames and letters; read again when JupyterLab's style sheet has followed its theme. */
function usePlotStyle(root: { current: HTMLElement | null }, theme: string, width: number): PlotStyle {
  const [style, setStyle] = useState(() => plotStyle(root.current));
  useEffect(() => {
    setStyle(plotStyle(root.current));
    const late = [150, 800].map((delay) => setTimeout(() => setStyle(plotStyle(root.current)), delay));
    return () => late.forEach(clearTimeout);
  }, [theme, width > 0]);
  return style;
}

function plotStyle(element: HTMLElement | null): PlotStyle {
  const root = element?.closest(".dk");
  const found = root ? getComputedStyle(root) : null;
  const read = (name: string, otherwise: string) => found?.getPropertyValue(name).trim() || otherwise;
  return {
    surface: read("--dk-surface", "#ffffff"),
    line: read("--dk-line", "#dcdce2"),
    text: read("--dk-text", "#1f1f24"),
    muted: read("--dk-muted", "#5f5f6b"),
    accent: read("--dk-accent", "#5b3fd6"),
    font: read("--dk-mono", "monospace"),
  };
}
