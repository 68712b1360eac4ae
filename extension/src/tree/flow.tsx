// What flows between the parts of a module, drawn by the kernel from the live model.
import { useState } from "preact/hooks";
import type { Side } from "../core/tree_compare";
import { Button, download, ErrorBox } from "../ui/parts";
import type { Model } from "../ui/widget";
import { type About, useAnswer } from "./answer";

type Drawing = About & { svg?: string };
type Props = { model: Model; path: string; side: Side; live: boolean; name: string; known: (path: string) => boolean; onChoose: (path: string) => void };

export function Flow({ model, path, side, live, name, known, onChoose }: Props) {
  const [flow, ask, asked] = useAnswer<Drawing>(model, "flow", path, side);
  const [zoom, setZoom] = useState(0); // 0 fits the width
  if (!live) return <div class="dk-empty">A dataflow is drawn from the model, and this tree holds only its trace: ModelTree(model, inputs) draws it.</div>;
  if (!flow) {
    return (
      <div class="dk-empty">
        <Button disabled={asked} onClick={ask}>{asked ? "Drawing…" : "Draw what flows in it"}</Button>
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
