// Which layer: a list grouped by block, and the whole model as a strip of bars, from the least firing layer to the most.
import { percent } from "../core/format";

export type Listed = { name: string; block: string; role: string; rate: number };

/** Layers from which gaps between bars would take the place of the bars. */
const MANY = 100;

export function LayerPicker({ layers, layer, onSelect }: { layers: Listed[]; layer: string; onSelect: (name: string) => void }) {
  const blocks = byBlock(layers);
  const rates = layers.map((each) => each.rate);
  const low = Math.min(...rates), high = Math.max(...rates);
  const height = (rate: number) => (high > low ? 15 + (85 * (rate - low)) / (high - low) : 60);
  return (
    <div class="sr-layers">
      <label class="sr-layer-field">
        <span class="dk-muted">Layer</span>
        <select class="dk-input sr-select" value={layer} title={layer} onChange={(event) => onSelect(event.currentTarget.value)}>
          {[...blocks].map(([block, own]) => (
            <optgroup key={block} label={block}>
              {own.map((each) => <option key={each.name} value={each.name}>{`${short(block)}${each.role} · ${percent(each.rate)}`}</option>)}
            </optgroup>
          ))}
        </select>
      </label>
      {layers.length > 1 && <div class="sr-strip" data-many={layers.length > MANY} aria-hidden="true">
        {[...blocks].map(([block, own]) => (
          <div key={block} class="sr-strip-block" style={{ flexGrow: own.length }}>
            {own.map((each) => (
              <div
                key={each.name}
                class="sr-bar"
                data-chosen={each.name === layer}
                title={`${each.name}\nfires ${percent(each.rate)}`}
                onClick={() => onSelect(each.name)}
              >
                <div style={{ height: `${height(each.rate)}%` }} />
              </div>
            ))}
          </div>
        ))}
      </div>}
      <span class="dk-muted sr-span" title={`${layers.length} layers`}>{layers.length > 1 ? `fire ${percent(low)} to ${percent(high)}` : ""}</span>
    </div>
  );
}

/** Block 3 → "3 · ", so that the closed list says where the layer is. */
function short(block: string): string {
  return block.startsWith("Block ") ? `${block.slice(6)} · ` : "";
}

function byBlock(layers: Listed[]): Map<string, Listed[]> {
  const found = new Map<string, Listed[]>();
  for (const each of layers) found.set(each.block, [...(found.get(each.block) ?? []), each]);
  return found;
}
