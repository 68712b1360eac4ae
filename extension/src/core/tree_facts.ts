// What is known of one module, as short texts under names.
import { energy, percent, whole } from "./format";
import { type Spikes, tensors, type Tree } from "./model_tree";
import { bytes, time } from "./model_tree_columns";

/** A name, what to say, and the number behind it where a ratio of two makes sense. */
export type Fact = { name: string; text: string; number?: number };

/** What is known of a module; `measured` is the step of a run whose firing rates the tree shows in place of the traced ones. */
export function factsOf(tree: Tree, row: number, measured: number | null = null): Fact[] {
  const number = (name: string) => tree.numbers(name)[row] as number;
  const [own, total] = [number("own_parameters"), number("parameters")];
  const aliases = (tree.other("aliases", row) as string[] | null) ?? [];
  const pair = (mine: string, all: string) => (mine === all ? all : `${all}, its own ${mine}`);
  const count = number("calls");
  const facts: Fact[] = [
    { name: "class", text: classOf(tree.text("module", row), tree.text("class_name", row)) },
    { name: "calls", text: count ? `${whole(count)} in one forward of the model` : tree.text("kind", row) === "container" ? "a container; it has no forward" : "it never ran", number: count },
    { name: "input", text: shapes(tree.text("inputs", row)) },
    { name: "output", text: shapes(tree.text("outputs", row)) },
    { name: "parameters", text: total ? `${pair(whole(own), whole(total))} · ${whole(number("trainable"))} trainable · ${bytes(number("parameter_bytes"))}` : "", number: total },
    { name: "shared", text: number("tied") ? `${whole(number("tied"))} parameters belong to a module before it as well` : "" },
    { name: "buffers", text: number("buffer_bytes") ? bytes(number("buffer_bytes")) : "", number: number("buffer_bytes") },
    { name: "MACs", text: number("macs") ? pair(whole(Math.floor(number("own_flops") / 2)), whole(number("macs"))) : "", number: number("macs") },
    { name: "energy", text: number("energy_pj") > 0 ? `${pair(number("own_energy_pj") > 0 ? energy(number("own_energy_pj")) : "0 pJ", energy(number("energy_pj")))} · simulated` : "", number: number("energy_pj") },
    { name: "fires", text: Number.isNaN(number("firing")) ? "" : `${(100 * number("firing")).toFixed(2)} % of the slots in it${measured === null ? "" : `, at step ${whole(measured)}`}`, number: number("firing") },
    { name: "time", text: Number.isNaN(number("seconds")) ? "" : time(number("seconds")), number: number("seconds") },
    { name: "memory", text: number("memory_bytes") > 0 ? bytes(number("memory_bytes")) : "", number: number("memory_bytes") },
    { name: "state", text: number("stateful") ? "keeps tensors from one call to the next" : "" },
    { name: "shapes", text: number("shapes_vary") ? "later calls saw other shapes" : "" },
    { name: "other names", text: aliases.join(", ") },
  ];
  return facts.filter((fact) => fact.text);
}

/** How a module fired by itself when it was traced. */
export function firingFacts(spikes: Spikes, live = false): Fact[] {
  const counted = spikes.slots > 0;
  const facts: Fact[] = [
    { name: "spikes", text: `${spikes.signed ? "signed, " : ""}${spikes.coding}, Q = ${spikes.num_levels} levels, S = ${spikes.num_steps} ${spikes.num_steps === 1 ? "step" : "steps"}${spikes.weight_bits === null ? "" : `, weights of ${spikes.weight_bits} bits`}` },
    { name: "salient", text: !spikes.salient_fraction ? "" : `${percent(spikes.salient_fraction)} of the features have all steps` },
    { name: live ? "traced" : "firing", text: counted ? `${(100 * spikes.active_slots / spikes.slots).toFixed(2)} % (${whole(spikes.active_slots)} of ${whole(spikes.slots)} slots)` : "not counted", number: counted ? spikes.active_slots / spikes.slots : Number.NaN },
    { name: "silent", text: spikes.pairs ? `${percent(spikes.silent / spikes.pairs)} of (token, feature) pairs` : "", number: spikes.silent / spikes.pairs },
    { name: "unit spikes", text: counted ? whole(spikes.unary_events) : "", number: spikes.unary_events },
    { name: "additions", text: spikes.ac_unary ? `${whole(spikes.ac_unary)} of unit spikes, ${whole(spikes.ac_bitwise)} of set bits · simulated` : "", number: spikes.ac_unary },
    { name: "low-bit MACs", text: spikes.effective_macs ? `${whole(spikes.effective_macs)}, where float has ${whole(spikes.dense_macs)}` : "", number: spikes.effective_macs },
  ];
  return facts.filter((fact) => fact.text);
}

/** Facts of two sides under one name each, in their common order; "" where a side does not have one. */
export function paired(before: Fact[], after: Fact[]): { name: string; before: Fact | null; after: Fact | null }[] {
  const names = after.map((fact) => fact.name);
  before.forEach((fact, at) => {
    if (names.includes(fact.name)) return;
    const above = before.slice(0, at).reverse().find((each) => names.includes(each.name));
    names.splice(above ? names.indexOf(above.name) + 1 : 0, 0, fact.name);
  });
  const of = (facts: Fact[], name: string) => facts.find((fact) => fact.name === name) ?? null;
  return names.map((name) => ({ name, before: of(before, name), after: of(after, name) }));
}

/** An edited class lies in a module of its own, whose name is a digest and says nothing. */
export function classOf(module: string, name: string): string {
  return module.startsWith("darkit_patch_") ? `${name}, edited` : `${module}.${name}`;
}

function shapes(text: string): string {
  return tensors(text).map((each) => `${each.name ? `${each.name} ` : ""}${each.shape} ${each.dtype}`).join("\n");
}
