// Everything about the chosen module: facts, how it fires, its source, and what flows in it.
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { energy, percent, whole } from "../core/format";
import { type Spikes, tensors, type Tree } from "../core/model_tree";
import { bytes, time } from "../core/model_tree_columns";
import { Button, Tabs } from "../ui/parts";
import type { Model } from "../ui/widget";
import { Flow } from "./flow";
import { Source } from "./source";

const TABS = ["facts", "source", "dataflow"] as const;

type Props = { model: Model; tree: Tree; row: number; live: boolean; onChoose: (path: string | null) => void };

export function Detail({ model, tree, row, live, onChoose }: Props) {
  const [tab, setTab] = useState<string>(lastTab);
  const path = tree.paths[row] as string;
  const problem = tree.other("problem", row) as string | null;
  return (
    <div class="mt-detail" role="region" aria-label={`Module ${path || tree.wire.model}`}>
      <div class="mt-title">
        <strong class="mt-path" title={path}>{path || tree.wire.model}</strong>
        <span class="dk-muted mt-kind">{tree.text("kind", row)}</span>
        <Button kind="quiet" aria-label="Close the details" onClick={() => onChoose(null)}>✕</Button>
      </div>
      {problem && <pre class="mt-problem" role="alert">✗ {problem}</pre>}
      <Tabs names={TABS} selected={tab} label="What to see of the module" onSelect={(name) => { lastTab = name; setTab(name); }} />
      {tab === "facts" && <Facts tree={tree} row={row} />}
      {tab === "source" && <Source model={model} path={path} />}
      {tab === "dataflow" && <Flow model={model} path={path} live={live} name={path || tree.wire.model} known={(each) => tree.row(each) >= 0} onChoose={onChoose} />}
    </div>
  );
}

let lastTab: string = TABS[0]; // going through modules keeps the tab

type Fact = [string, ComponentChildren];

function Facts({ tree, row }: { tree: Tree; row: number }) {
  const number = (name: string) => tree.numbers(name)[row] as number;
  const [own, total] = [number("own_parameters"), number("parameters")];
  const aliases = (tree.other("aliases", row) as string[] | null) ?? [];
  const pair = (mine: string, all: string) => (mine === all ? all : `${all}, its own ${mine}`);
  const shapes = (name: string) => tensors(tree.text(name, row)).map((each, at) => (
    <div key={at}>{each.name && <span class="dk-muted">{each.name} </span>}{each.shape} <span class="dk-muted">{each.dtype}</span></div>
  ));
  const count = number("calls");
  const facts: Fact[] = [
    ["class", <span class="dk-mono">{tree.text("module", row)}.{tree.text("class_name", row)}</span>],
    ["calls", count ? `${whole(count)} in one forward of the model` : tree.text("kind", row) === "container" ? "a container; it has no forward" : "it never ran"],
    ["input", shapes("inputs")],
    ["output", shapes("outputs")],
    ["parameters", total ? `${pair(whole(own), whole(total))} · ${whole(number("trainable"))} trainable · ${bytes(number("parameter_bytes"))}` : ""],
    ["shared", number("tied") ? `${whole(number("tied"))} parameters belong to a module before it as well` : ""],
    ["buffers", number("buffer_bytes") ? bytes(number("buffer_bytes")) : ""],
    ["MACs", number("macs") ? pair(whole(Math.floor(number("own_flops") / 2)), whole(number("macs"))) : ""],
    ["energy", number("energy_pj") > 0 ? `${pair(number("own_energy_pj") > 0 ? energy(number("own_energy_pj")) : "0 pJ", energy(number("energy_pj")))} · simulated` : ""],
    ["fires", Number.isNaN(number("firing")) ? "" : `${(100 * number("firing")).toFixed(2)} % of the slots in it`],
    ["time", Number.isNaN(number("seconds")) ? "" : time(number("seconds"))],
    ["memory", number("memory_bytes") > 0 ? bytes(number("memory_bytes")) : ""],
    ["state", number("stateful") ? "keeps tensors from one call to the next" : ""],
    ["shapes", number("shapes_vary") ? "later calls saw other shapes" : ""],
    ["other names", aliases.join(", ")],
  ];
  const spikes = tree.spikes(row);
  return (
    <div class="mt-facts" data-two={spikes !== null}>
      <List facts={facts} />
      {spikes && <Firing spikes={spikes} />}
    </div>
  );
}

function List({ facts }: { facts: Fact[] }) {
  const told = facts.filter(([, fact]) => fact && (!Array.isArray(fact) || fact.length));
  return <dl>{told.map(([name, fact]) => [<dt key={name}>{name}</dt>, <dd key={`${name}:`}>{fact}</dd>])}</dl>;
}

function Firing({ spikes }: { spikes: Spikes }) {
  const counted = spikes.slots > 0;
  const facts: Fact[] = [
    ["spikes", `${spikes.signed ? "signed, " : ""}${spikes.coding}, Q = ${spikes.num_levels} levels, S = ${spikes.num_steps} steps${spikes.weight_bits === null ? "" : `, weights of ${spikes.weight_bits} bits`}`],
    ["salient", spikes.salient_fraction === null ? "" : `${percent(spikes.salient_fraction)} of the features have all steps`],
    ["firing", counted ? `${(100 * spikes.active_slots / spikes.slots).toFixed(2)} % (${whole(spikes.active_slots)} of ${whole(spikes.slots)} slots)` : "not counted"],
    ["silent", spikes.pairs ? `${percent(spikes.silent / spikes.pairs)} of (token, feature) pairs` : ""],
    ["unit spikes", counted ? whole(spikes.unary_events) : ""],
    ["additions", spikes.ac_unary ? `${whole(spikes.ac_unary)} of unit spikes, ${whole(spikes.ac_bitwise)} of set bits · simulated` : ""],
    ["low-bit MACs", spikes.effective_macs ? `${whole(spikes.effective_macs)}, where float has ${whole(spikes.dense_macs)}` : ""],
  ];
  return <div class="mt-firing"><List facts={facts} />{spikes.histogram.length > 0 && <Histogram spikes={spikes} />}</div>;
}

function Histogram({ spikes: { histogram, histogram_start: start, histogram_width: width } }: { spikes: Spikes }) {
  const most = Math.max(...histogram, 1);
  const label = (at: number) => (width === 1 ? `${start + at}` : `${start + at * width} to ${start + (at + 1) * width - 1}`);
  return (
    <figure class="mt-histogram">
      <div role="img" aria-label={`(token, feature) pairs by their count of spikes: ${histogram.map((pairs, at) => `${label(at)}: ${pairs}`).join(", ")}`}>
        {histogram.map((pairs, at) => <i key={at} title={`count ${label(at)}: ${whole(pairs)} pairs`}><b style={{ height: `${pairs ? Math.max(2, (100 * pairs) / most) : 0}%` }} /></i>)}
      </div>
      <figcaption class="dk-muted"><span>{label(0)}</span><span>spikes of a (token, feature) pair</span><span>{label(histogram.length - 1)}</span></figcaption>
    </figure>
  );
}
