// The controls above the charts: runs, smoothing, scale, zoom, files.
import "./chart_bar.css";
import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { download, Button, ErrorBox, StateChip } from "../ui/parts";
import { type Model, type Problem, useAsk, useMessages, useSharedTrait, useTheme, useTrait, widget } from "../ui/widget";
import { nearestSpan, rasterSize, SPANS, spanText } from "../core/charts";

type Shown = { id: string; label: string; state: string; light: string; dark: string };
type Choice = { id: string; name: string; state: string };

const WIDTH_STEP = 20;
const FORMATS: [string, string][] = [
  ["svg", "SVG, the charts as they are now"],
  ["png", "PNG, the same as an image"],
  ["html", "HTML, a page to zoom into"],
  ["csv", "CSV, every measurement"],
  ["parquet", "Parquet, every measurement"],
];

/** Tells Python how wide the charts may be and which theme the page has. */
function usePage(model: Model, root: { current: HTMLElement | null }) {
  const theme = useTheme();
  useEffect(() => {
    if (model.get("dark") === (theme === "dark")) return;
    model.set("dark", theme === "dark");
    model.save_changes();
  }, [model, theme]);
  useEffect(() => {
    let timer = 0;
    const measure = () => {
      const width = Math.floor((root.current?.clientWidth ?? 0) / WIDTH_STEP) * WIDTH_STEP;
      if (width < WIDTH_STEP || width === model.get("width")) return;
      model.set("width", width);
      model.save_changes();
    };
    const observer = new ResizeObserver(() => {
      clearTimeout(timer);
      timer = setTimeout(measure, 150) as unknown as number;
    });
    if (root.current) observer.observe(root.current);
    return () => {
      clearTimeout(timer);
      observer.disconnect();
    };
  }, [model, root]);
  return theme;
}

/** A button that opens a list below it; Escape and a click elsewhere close it. */
function Menu({ label, title, onOpen, children }: {
  label: ComponentChildren;
  title: string;
  onOpen?: () => void;
  children: (close: () => void) => ComponentChildren;
}) {
  const [open, setOpen] = useState(false);
  const box = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (!open) return;
    const away = (event: Event) => { if (!box.current?.contains(event.target as Node)) setOpen(false); };
    document.addEventListener("pointerdown", away);
    return () => document.removeEventListener("pointerdown", away);
  }, [open]);
  const toggle = () => {
    if (!open) onOpen?.();
    setOpen(!open);
  };
  const keys = (event: KeyboardEvent) => {
    if (event.key !== "Escape" || !open) return;
    event.stopPropagation();
    setOpen(false);
    box.current?.querySelector("button")?.focus();
  };
  return (
    <div class="chart-menu" ref={box} onKeyDown={keys}>
      <Button aria-expanded={open} aria-haspopup="true" title={title} onClick={toggle}>{label}<span aria-hidden="true">▾</span></Button>
      {open && <div class="chart-list">{children(() => setOpen(false))}</div>}
    </div>
  );
}

function RunMenu({ model }: { model: Model }) {
  const ask = useAsk(model);
  const choices = useTrait<Choice[]>(model, "choices");
  const [selected, select] = useSharedTrait<string[]>(model, "selected");
  const turn = (id: string) => select(selected.includes(id) ? selected.filter((each) => each !== id) : [...selected, id]);
  return (
    <Menu label="Runs" title="Choose the runs to show" onOpen={() => ask("list")}>
      {() => (
        <div role="group" aria-label="Runs to show">
          {choices.length === 0 && <div class="dk-muted chart-none">No runs in this folder yet.</div>}
          {choices.map((choice) => (
            <label key={choice.id} class="chart-choice">
              <input type="checkbox" checked={selected.includes(choice.id)} onChange={() => turn(choice.id)} />
              <span class="dk-grow" title={choice.id}>{choice.name}</span>
              <StateChip state={choice.state} />
            </label>
          ))}
        </div>
      )}
    </Menu>
  );
}

function Legend({ model, dark }: { model: Model; dark: boolean }) {
  const legend = useTrait<Shown[]>(model, "legend");
  const [selected, select] = useSharedTrait<string[]>(model, "selected");
  return (
    <ul class="chart-legend" aria-label="Runs shown">
      {legend.map((run) => (
        <li key={run.id} title={`${run.id} · ${run.state}`}>
          <span class="chart-dot" style={{ background: dark ? run.dark : run.light }} />
          <span class="chart-name">{run.label}</span>
          {legend.length > 1 && (
            <button type="button" aria-label={`Hide ${run.label}`} onClick={() => select(selected.filter((id) => id !== run.id))}>✕</button>
          )}
        </li>
      ))}
    </ul>
  );
}

function Smoothing({ model }: { model: Model }) {
  const [span, setSpan] = useSharedTrait<number>(model, "span");
  return (
    <label class="chart-smooth" title="How many steps a smoothed value looks back over">
      <span>Smoothing</span>
      <input
        type="range"
        min={0}
        max={SPANS.length - 1}
        value={nearestSpan(span)}
        aria-valuetext={spanText(span)}
        onInput={(event) => setSpan(SPANS[Number(event.currentTarget.value)] as number)}
      />
      <span class="dk-muted chart-span">{spanText(span)}</span>
    </label>
  );
}

function ChartBar({ model }: { model: Model }) {
  const root = useRef<HTMLDivElement>(null);
  const dark = usePage(model, root) === "dark";
  const ask = useAsk(model);
  const legend = useTrait<Shown[]>(model, "legend");
  const [log, setLog] = useSharedTrait<boolean>(model, "log");
  const zoomed = useTrait<boolean>(model, "zoomed");
  const exporting = useTrait<string>(model, "exporting");
  const problem = useTrait<Problem | null>(model, "problem");
  useMessages(model, save);
  return (
    <div ref={root} class="chart-root">
      <div class="chart-bar" role="toolbar" aria-label="Charts">
        <RunMenu model={model} />
        <Legend model={model} dark={dark} />
        {legend.length > 0 && (
          <div class="chart-tools">
            <Button class="dk-button chart-reset" data-shown={zoomed} disabled={!zoomed} onClick={() => ask("reset_zoom")} title="Show all steps again (or double-click a chart)">Reset zoom</Button>
            <Smoothing model={model} />
            <Button aria-pressed={log} onClick={() => setLog(!log)} title="Logarithmic scale of the loss">Log</Button>
            <Menu label={exporting ? "Exporting…" : "Export"} title="Take the charts or their numbers along">
              {(close) => FORMATS.map(([kind, told]) => (
                <button key={kind} type="button" class="chart-format" onClick={() => { ask("export", { kind }); close(); }}>{told}</button>
              ))}
            </Menu>
          </div>
        )}
      </div>
      <ErrorBox problem={problem} onDismiss={() => ask("dismiss")} />
      {legend.length === 0 && <Empty />}
    </div>
  );
}

function Empty() {
  return (
    <div class="dk-empty chart-empty">
      <svg viewBox="0 0 200 60" width="200" height="60" aria-hidden="true">
        <path d="M4 8C30 46 50 40 80 46s80 4 116 6" fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round" />
        <path d="M4 56h192" stroke="currentColor" stroke-opacity="0.4" />
      </svg>
      <div>No run chosen. Start one, or pick some under <strong>Runs</strong> to look at or compare.</div>
    </div>
  );
}

/** A file that Python made becomes a download; a PNG is painted from its SVG first. */
async function save(message: Record<string, unknown>, buffers: DataView[]) {
  const name = message["file"];
  const bytes = buffers[0];
  if (typeof name !== "string" || !bytes) return;
  const content = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength).slice();
  const type = String(message["type"]);
  if (name.endsWith(".png")) download(name, await paint(new Blob([content], { type })), "image/png");
  else download(name, content, type);
}

async function paint(drawing: Blob): Promise<Blob> {
  const image = new Image();
  const url = URL.createObjectURL(drawing);
  try {
    image.src = url;
    await image.decode();
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = rasterSize(image.naturalWidth, image.naturalHeight);
    canvas.getContext("2d")?.drawImage(image, 0, 0, canvas.width, canvas.height);
    return await new Promise((done, fail) =>
      canvas.toBlob((made) => (made ? done(made) : fail(new Error("the browser made no image"))), "image/png"));
  } finally {
    URL.revokeObjectURL(url);
  }
}

export default widget(ChartBar);
