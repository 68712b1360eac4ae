// What flows between the parts of a module, drawn by the kernel from the live model.
import { useEffect, useState } from "preact/hooks";
import { Button, download, ErrorBox } from "../ui/parts";
import { type Model, type Problem, useAsk, useTrait } from "../ui/widget";

type Drawing = { path: string; svg?: string; problem?: Problem };
type Props = { model: Model; path: string; live: boolean; name: string; known: (path: string) => boolean; onChoose: (path: string) => void };

export function Flow({ model, path, live, name, known, onChoose }: Props) {
  const ask = useAsk(model);
  const flow = useTrait<Drawing | null>(model, "flow");
  const failed = useTrait<Problem | null>(model, "problem");
  const [zoom, setZoom] = useState(0); // 0 fits the width
  const [asked, setAsked] = useState(false);
  useEffect(() => setAsked(false), [failed]);
  if (!live) return <div class="dk-empty">A dataflow is drawn from the model, and this tree was made from a trace: ModelTree(model, inputs) draws it.</div>;
  if (flow?.path !== path) {
    return (
      <div class="dk-empty">
        <Button disabled={asked} onClick={() => { setAsked(true); ask("flow", { path }); }}>{asked ? "Drawing…" : "Draw what flows in it"}</Button>
        <div class="dk-muted mt-hint">Runs the model once more, and takes some seconds.</div>
      </div>
    );
  }
  if (!flow.svg) return <ErrorBox problem={flow.problem} />;
  const svg = flow.svg;
  const click = (event: MouseEvent) => {
    const to = (event.target as Element).closest<SVGElement>("[data-path]")?.dataset["path"];
    if (to && to !== path && known(to)) onChoose(to);
  };
  const scale = (factor: number) => setZoom(Math.min(4, Math.max(0.25, (zoom || 1) * factor)));
  return (
    <div class="mt-flow">
      <div class="dk-row">
        <Button aria-label="Larger" onClick={() => scale(1.25)}>+</Button>
        <Button aria-label="Smaller" onClick={() => scale(0.8)}>−</Button>
        <Button aria-pressed={zoom === 0} onClick={() => setZoom(0)}>Fit</Button>
        <span class="dk-grow" />
        <Button onClick={() => download(`${name.replace(/[^\w.-]+/g, "_")}.svg`, svg, "image/svg+xml")}>Export SVG</Button>
      </div>
      <div class="mt-drawing" tabIndex={0} aria-label={`Dataflow of ${name}`}>
        <div style={zoom ? { width: "max-content", zoom } : undefined} onClick={click} dangerouslySetInnerHTML={{ __html: svg }} />
      </div>
    </div>
  );
}
