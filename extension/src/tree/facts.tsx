// The facts of a module, of one trace or of two.
import type { ComponentChildren } from "preact";
import { ratio, times, type ComparedTree } from "../core/tree_compare";
import { whole } from "../core/format";
import type { Spikes, Tree } from "../core/model_tree";
import { type Fact, factsOf, firingFacts, paired } from "../core/tree_facts";

export function Facts({ tree, row, measured, children }: { tree: Tree; row: number; measured: number | null; children: ComponentChildren }) {
  const spikes = tree.spikes(row);
  return (
    <div class="mt-facts" data-two={spikes !== null}>
      <div><List facts={factsOf(tree, row, measured)} />{children}</div>
      {spikes && <div class="mt-firing"><List facts={firingFacts(spikes, measured !== null)} />{spikes.histogram.length > 0 && <Histogram spikes={spikes} />}</div>}
    </div>
  );
}

function List({ facts }: { facts: Fact[] }) {
  return <dl>{facts.map(({ name, text }) => [<dt key={name}>{name}</dt>, <dd key={`${name}:`}>{text}</dd>])}</dl>;
}

/** What a module was and what it is; only what differs stands twice. */
export function ComparedFacts({ tree, row }: { tree: ComparedTree; row: number }) {
  const sides = [tree.at("before", row), tree.at("after", row)] as const;
  const spikes = sides.map((side) => side && side[0].spikes(side[1]));
  const [was, is] = sides.map((side, at) => (side ? [...factsOf(...side), ...(spikes[at] ? firingFacts(spikes[at]) : [])] : [])) as [Fact[], Fact[]];
  const there = sides.every(Boolean);
  return (
    <div class="mt-compared-facts">
      <table class="mt-pairs">
        {there && <thead><tr><th><span class="dk-hidden">fact</span></th><th>before</th><th>after</th><th data-number>ratio</th></tr></thead>}
        <tbody>
          {paired(was, is).map(({ name, before, after }) => (
            !there || before?.text === after?.text
              ? <tr key={name}><th>{name}</th><td class="mt-pairs-value" colSpan={3}>{(after ?? before)?.text}</td></tr>
              : (
                <tr key={name} data-differs={Boolean(before && after)}>
                  <th>{name}</th><td class="mt-pairs-value">{before?.text ?? "–"}</td><td class="mt-pairs-value">{after?.text ?? "–"}</td>
                  <td class="mt-pairs-value" data-number>{times(ratio(before?.number ?? Number.NaN, after?.number ?? Number.NaN)).replace("=", "")}</td>
                </tr>
              )
          ))}
        </tbody>
      </table>
      {spikes.some((each) => each?.histogram.length) && (
        <div class="mt-facts" data-two={spikes.every(Boolean)}>
          {spikes.map((each, at) => each && each.histogram.length > 0 && <Histogram key={at} spikes={each} side={there ? (at ? "after" : "before") : undefined} />)}
        </div>
      )}
    </div>
  );
}

function Histogram({ spikes, side }: { spikes: Spikes; side?: string | undefined }) {
  const { histogram, histogram_start: start, histogram_width: width } = spikes;
  const most = Math.max(...histogram, 1);
  const label = (at: number) => (width === 1 ? `${start + at}` : `${start + at * width} to ${start + (at + 1) * width - 1}`);
  return (
    <figure class="mt-histogram">
      <div role="img" aria-label={`(token, feature) pairs by their count of spikes: ${histogram.map((pairs, at) => `${label(at)}: ${pairs}`).join(", ")}`}>
        {histogram.map((pairs, at) => <i key={at} title={`count ${label(at)}: ${whole(pairs)} pairs`}><b style={{ height: `${pairs ? Math.max(2, (100 * pairs) / most) : 0}%` }} /></i>)}
      </div>
      <figcaption class="dk-muted"><span>{label(0)}</span><span>spikes of a (token, feature) pair{side && `, ${side}`}</span><span>{label(histogram.length - 1)}</span></figcaption>
    </figure>
  );
}
