// Everything about the chosen module: facts, spikes, parameters, its source, and what flows in it.
import { useState } from "preact/hooks";
import type { Tree } from "../core/model_tree";
import { ComparedTree, inside, type Side, WORDS } from "../core/tree_compare";
import { Button, Tabs } from "../ui/parts";
import type { Model } from "../ui/widget";
import { Actions } from "./actions";
import { ComparedFacts, Facts } from "./facts";
import { Flow } from "./flow";
import { Parameters } from "./parameters";
import { CourseLine } from "./pulse";
import { Raster } from "./raster";
import { Source } from "./source";

const TABS = ["facts", "spikes", "parameters", "source", "dataflow"] as const;

/** What the kernel can do: sides whose model it holds, and whether a run answers for its spikes. */
export type Reach = { live: Side[]; probes: boolean };
type Props = { model: Model; tree: Tree; row: number; reach: Reach; measured: number | null; onChoose: (path: string | null) => void };

export function Detail({ model, tree, row, reach, measured, onChoose }: Props) {
  const [tab, setTab] = useState<string>(lastTab);
  const compared = tree instanceof ComparedTree ? tree : null;
  const sides: Side[] = compared ? (["before", "after"] as const).filter((each) => compared.at(each, row)) : ["after"];
  const [wanted, setSide] = useState<Side>("after");
  const side = sides.includes(wanted) ? wanted : sides[0] as Side;
  const path = tree.paths[row] as string;
  const name = path || tree.names[0] as string;
  const own = compared?.at(side, row) ?? [tree, row] as const;
  const problem = tree.other("problem", row) as string | null;
  const live = reach.live.includes(side);
  const module = { path, class_name: tree.text("class_name", row), module: tree.text("module", row) };
  const state = compared?.state(row);
  const below = compared?.below(row) ?? 0;
  return (
    <div class="mt-detail" role="region" aria-label={`Module ${name}`}>
      <div class="mt-title">
        <strong class="mt-path" title={path}>{name}</strong>
        <span class="dk-muted mt-kind">{tree.text("kind", row)}</span>
        {state && <span class="mt-verdict" data-state={state}>{WORDS[state]}{below > 0 && <span class="dk-muted">, {inside(below)}</span>}</span>}
        <span class="dk-grow" />
        {state !== "gone" && <Actions model={model} module={module} />}
        <Button kind="quiet" aria-label="Close the details" onClick={() => onChoose(null)}>✕</Button>
      </div>
      {problem && <pre class="mt-problem" role="alert">✗ {problem}</pre>}
      <div class="mt-tabs">
        <Tabs names={TABS} selected={tab} label="What to see of the module" onSelect={(name) => { lastTab = name; setTab(name); }} />
        {sides.length > 1 && tab !== "facts" && <SidePicker side={side} onSide={setSide} />}
      </div>
      {tab === "facts" && (compared
        ? <ComparedFacts tree={compared} row={row} />
        : <Facts tree={tree} row={row} measured={measured}><CourseLine model={model} path={path} /></Facts>)}
      {tab === "spikes" && <Raster model={model} tree={own[0]} row={own[1]} side={side} live={live} probes={reach.probes} onChoose={onChoose} />}
      {tab === "parameters" && <Parameters model={model} path={path} side={side} live={live} />}
      {tab === "source" && <Source model={model} path={path} side={side} />}
      {tab === "dataflow" && <Flow model={model} path={path} side={side} live={live} name={name} known={(each) => tree.row(each) >= 0} onChoose={onChoose} />}
    </div>
  );
}

let lastTab: string = TABS[0]; // going through modules keeps the tab

function SidePicker({ side, onSide }: { side: Side; onSide: (side: Side) => void }) {
  return (
    <span class="mt-sides" role="group" aria-label="Which of the two">
      {(["before", "after"] as const).map((each) => (
        <button key={each} type="button" class="dk-button mt-only" aria-pressed={each === side} onClick={() => onSide(each)}>{each}</button>
      ))}
    </span>
  );
}
