// The figure of the charts. This script is small, so that it is there at once; Plotly, which draws, comes after it.
import "./chart_figure.css";
import { useEffect, useRef, useState } from "preact/hooks";
import { forget, library, type Plotly, supply } from "../chart/library";
import { type Draw, drawn, type Figure, forPlotly, reaching, zoomOf } from "../core/figure";
import { Button, ErrorBox } from "../ui/parts";
import { type Model, type Problem, useTrait, widget } from "../ui/widget";

const CONFIG = { displayModeBar: false, doubleClick: "autosize", showTips: false };
const SLOW_MS = 15_000;
const DRAGGED_MS = 200;
type Plot = HTMLElement & { _dragging?: boolean; on?: (name: string, heard: (change: Record<string, unknown>) => void) => void };

/** Draws what the kernel tells, never two pictures at once: on a slow machine those in between are left out. */
class Painter {
  private figure: Figure | null = null;
  private plotly: Plotly | null = null;
  private due = 0;
  private busy = false;
  private stale = false;
  private listens = false;
  private gone = false;

  constructor(
    private model: Model,
    private place: Plot,
    private told: (height: number, isDrawn: boolean) => void,
    private failed: (error: unknown) => void,
  ) {}

  hear(message: Record<string, unknown>, buffers: DataView[]) {
    if (message["library"] && buffers[0]) supply(buffers[0]);
    if (!message["draw"]) return;
    this.figure = drawn(this.figure, message["draw"] as Draw, buffers);
    if (!this.figure) {
      this.model.send({ do: "all" });
      return;
    }
    this.told(Number(this.figure.layout["height"] ?? 0), this.listens);
    this.soon();
  }

  draws(plotly: Plotly) {
    this.plotly = plotly;
    this.soon();
  }

  end() {
    this.gone = true;
    clearTimeout(this.due);
    this.plotly?.purge(this.place);
  }

  private soon(wait = 0) {
    this.stale = true;
    if (this.due || this.busy || this.gone) return;
    this.due = setTimeout(() => {
      this.due = 0;
      void this.paint();
    }, wait) as unknown as number;
  }

  private async paint() {
    if (!this.plotly || !this.figure || this.gone) return;
    if (this.place._dragging) { // a picture in between would take the mark out of somebody's hand
      this.soon(DRAGGED_MS);
      return;
    }
    this.busy = true;
    this.stale = false;
    const { data, layout } = forPlotly(this.figure);
    try {
      await this.plotly.react(this.place, data, layout, CONFIG);
    } catch (error) {
      this.failed(error);
      return;
    } finally {
      this.busy = false;
    }
    if (!this.listens) this.listen();
    if (this.stale) this.soon();
  }

  private listen() {
    this.listens = true;
    this.place.on?.("plotly_relayout", (change) => this.zoomed(change));
    this.told(Number(this.figure?.layout["height"] ?? 0), true);
  }

  private zoomed(change: Record<string, unknown>) {
    const zoom = zoomOf(change);
    if (!zoom || !this.figure) return;
    const [low, high] = zoom === "all" ? [null, null] : zoom;
    const reach = zoom === "all" ? { autorange: true } : { autorange: false, range: [low, high] };
    this.figure = { ...this.figure, layout: reaching(this.figure.layout, reach) };
    this.model.send({ do: "zoom", low, high });
  }
}

function ChartFigure({ model }: { model: Model }) {
  const place = useRef<HTMLDivElement>(null);
  const [{ height, isDrawn }, tell] = useState({ height: 0, isDrawn: false });
  const [failure, setFailure] = useState<Problem | null>(null);
  const [slow, setSlow] = useState(false);
  const [attempt, setAttempt] = useState(0);
  const problem = useTrait<Problem | null>(model, "problem");
  useEffect(() => {
    const told = (tall: number, done: boolean) => tell({ height: tall, isDrawn: done });
    const painter = new Painter(model, place.current as Plot, told, (error) => setFailure(undrawn(error)));
    const hear = (message: Record<string, unknown>, buffers: DataView[]) => painter.hear(message, buffers);
    const ask = () => model.send({ do: "library" });
    const fail = (error: unknown) => setFailure(unloaded(error));
    model.on("msg:custom", hear);
    model.send({ do: "all" });
    const load = () => library(ask);
    load().then((plotly) => painter.draws(plotly)).catch(fail);
    const timer = setInterval(() => { setSlow(true); void load(); }, SLOW_MS);
    load().finally(() => clearInterval(timer)).catch(() => undefined);
    return () => {
      clearInterval(timer);
      model.off("msg:custom", hear);
      painter.end();
    };
  }, [model, attempt]);
  const again = () => {
    forget();
    setFailure(null);
    tell({ height, isDrawn: false });
    setAttempt(attempt + 1);
  };
  const wrong = failure ?? problem;
  return (
    <div class="chart-figure">
      {wrong && <ErrorBox problem={wrong} />}
      {wrong && <Button class="dk-button chart-again" onClick={again}>Try again</Button>}
      {!isDrawn && !wrong && (
        <div class="chart-loading" role="status" style={{ height: `${Math.max(height, 120)}px` }}>
          <span>{slow ? "Still loading the charting library. A slow connection, or a cell that is running, keeps it waiting…" : "Loading the charting library…"}</span>
        </div>
      )}
      <div key={attempt} ref={place} class="chart-plot" data-drawn={isDrawn} />
    </div>
  );
}

function undrawn(error: unknown): Problem {
  return {
    message: "The charts could not be drawn.",
    received: String(error),
    cause: "a fault of darkit-nb, not of yours",
    fix: "try again, and please report it; pictures and numbers are under Export all the same",
  };
}

function unloaded(error: unknown): Problem {
  return {
    message: "The charting library did not load.",
    received: String(error),
    cause: "a browser from before 2023, or one that keeps pages from running scripts of their own",
    fix: "try again, or use another browser; pictures and numbers are under Export all the same",
  };
}

export default widget(ChartFigure);
