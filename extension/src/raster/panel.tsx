// One panel of the raster: all spikes, or those of one step. Panels share the view, the cursor and the pinned token.
import { useEffect, useMemo, useRef } from "preact/hooks";
import { cellAt, cellPixels, drawMarks, GUTTER, type Marks, type PlotBox, type PlotStyle, resolution } from "../core/raster_plot";
import { colourTable, type Ramps } from "../core/spike_colour";
import type { SpikePicture, View } from "../core/spike_picture";

export type Cell = { token: number; row: number };

type PanelProps = {
  picture: SpikePicture;
  step: number;
  order: Uint32Array;
  labels: string[];
  view: View;
  box: PlotBox;
  ramps: Ramps;
  style: PlotStyle;
  marks: Marks;
  onHover: (cell: Cell | null) => void;
  onPick: (cell: Cell) => void;
  onZoom: (factor: number, at: { x: number; y: number }) => void;
  onMove: (tokens: number, features: number) => void;
  onKey: (event: KeyboardEvent) => void;
};

export function Panel(props: PanelProps) {
  const { picture, step, order, view, box, ramps, style, marks } = props;
  const canvas = useRef<HTMLCanvasElement>(null);
  const ratio = window.devicePixelRatio || 1;
  const cells = useMemo(() => image(picture, step, order, view, box, ramps, ratio), [picture, step, order, view, box, ramps, ratio]);
  useEffect(() => {
    const context = canvas.current?.getContext("2d");
    if (!context) return;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, box.width + GUTTER, box.height + box.labels);
    context.imageSmoothingEnabled = false;
    context.drawImage(cells, 0, 0, box.width, box.height);
    drawMarks(context, picture, order, props.labels, view, box, style, marks);
  }, [cells, style, marks, props.labels]);
  const at = (event: MouseEvent) => {
    const place = (event.currentTarget as HTMLElement).getBoundingClientRect();
    return { x: event.clientX - place.left, y: event.clientY - place.top };
  };
  const drag = useDrag(view, box, props.onMove);
  useWheel(canvas, (event) => {
    const { x, y } = at(event);
    props.onZoom(Math.exp(-event.deltaY / 300), { x: Math.min(1, x / box.width), y: Math.min(1, y / box.height) });
  });
  return (
    <canvas
      ref={canvas}
      class="sr-canvas"
      tabIndex={0}
      role="img"
      aria-label={`${panelTitle(picture, step)}: ${picture.facts.features} features for ${picture.facts.tokens} tokens. Arrow keys move, Enter pins a token, plus and minus zoom.`}
      width={Math.round((box.width + GUTTER) * ratio)}
      height={Math.round((box.height + box.labels) * ratio)}
      style={{ width: `${box.width + GUTTER}px`, height: `${box.height + box.labels}px` }}
      onPointerMove={(event) => { if (!drag.move(event)) props.onHover(cellAt(at(event).x, at(event).y, view, box)); }}
      onPointerLeave={() => props.onHover(null)}
      onPointerDown={drag.start}
      onPointerUp={(event) => {
        const { x, y } = at(event);
        const cell = cellAt(x, Math.min(y, box.height - 1), view, box); // a label below belongs to its column
        if (!drag.end() && cell) props.onPick(cell);
      }}
      onKeyDown={props.onKey}
    />
  );
}

export function panelTitle(picture: SpikePicture, step: number): string {
  return step < 0 ? "All spikes" : `Step ${step + 1} of ${picture.facts.steps}`;
}

/** The cells of a view as a small canvas, one pixel each. */
function image(picture: SpikePicture, step: number, order: Uint32Array, view: View, box: PlotBox, ramps: Ramps, ratio: number): HTMLCanvasElement {
  const { rows, columns } = resolution(view, box, ratio);
  const small = document.createElement("canvas");
  small.width = columns;
  small.height = rows;
  const pixels = cellPixels(picture.pool(step, order, view, rows, columns), colourTable(ramps, picture.top(step)));
  small.getContext("2d")?.putImageData(new ImageData(pixels, columns, rows), 0, 0);
  return small;
}

/** Drags move a magnified view by whole cells; a press without one is a click. */
function useDrag(view: View, box: PlotBox, onMove: (tokens: number, features: number) => void) {
  const from = useRef<{ x: number; y: number; moved: boolean } | null>(null);
  return {
    start: (event: PointerEvent) => { from.current = { x: event.clientX, y: event.clientY, moved: false }; },
    move: (event: PointerEvent) => {
      const begun = from.current;
      if (!begun || !(event.buttons & 1)) return false;
      const tokens = Math.round(((begun.x - event.clientX) / box.width) * (view.tokens[1] - view.tokens[0]));
      const features = Math.round(((begun.y - event.clientY) / box.height) * (view.features[1] - view.features[0]));
      if (Math.hypot(begun.x - event.clientX, begun.y - event.clientY) > 4) begun.moved = true;
      if (tokens || features) {
        Object.assign(begun, { x: tokens ? event.clientX : begun.x, y: features ? event.clientY : begun.y });
        onMove(tokens, features);
      }
      return begun.moved;
    },
    end: () => {
      const moved = from.current?.moved ?? false;
      from.current = null;
      return moved;
    },
  };
}

/** The wheel zooms where the keyboard is, or with Ctrl held; otherwise it scrolls the notebook as everywhere. */
function useWheel(canvas: { current: HTMLCanvasElement | null }, zoom: (event: WheelEvent) => void) {
  const latest = useRef(zoom);
  latest.current = zoom;
  useEffect(() => {
    const element = canvas.current;
    const heard = (event: WheelEvent) => {
      if (document.activeElement !== element && !event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      latest.current(event);
    };
    element?.addEventListener("wheel", heard, { passive: false }); // a passive listener could not keep the page still
    return () => element?.removeEventListener("wheel", heard);
  }, []);
}
