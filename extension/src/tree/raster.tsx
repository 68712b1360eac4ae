// The spikes of the chosen module, token by token, as the kernel recorded them in one more forward.
import { useEffect, useMemo } from "preact/hooks";
import type { Ramps } from "../core/spike_colour";
import { type PictureTrait, SpikePicture } from "../core/spike_picture";
import type { Tree } from "../core/model_tree";
import type { Side } from "../core/tree_compare";
import { Facts, Raster as Pictures } from "../raster/raster";
import { Button, ErrorBox } from "../ui/parts";
import { type Model, useTheme, useTrait } from "../ui/widget";
import { type About, useAnswer } from "./answer";

type Spikes = About & { picture?: PictureTrait; tokens: string[]; step: number | null };
type Props = { model: Model; tree: Tree; row: number; side: Side; live: boolean; probes: boolean; onChoose: (path: string) => void };

const MOST_LINKS = 12;
let wanted = false; // once asked for, the spikes of each further module are drawn without asking

export function Raster({ model, tree, row, side, live, probes, onChoose }: Props) {
  const path = tree.paths[row] as string;
  const [spikes, ask, asked] = useAnswer<Spikes>(model, "raster", path, side);
  const colours = useTrait<Record<string, Ramps>>(model, "colours");
  const theme = useTheme();
  const picture = useMemo(() => (spikes?.picture ? new SpikePicture(spikes.picture) : null), [spikes]);
  const own = tree.fires(row);
  useEffect(() => { if ((live || probes) && own && wanted && !spikes) ask(); }, [path, side]);
  if (!own) return <Inside tree={tree} row={row} onChoose={onChoose} />;
  if (!live && !probes) return <div class="dk-empty">Spikes are recorded from the model, and this tree holds only its trace: ModelTree(model, inputs) draws them.</div>;
  if (spikes?.problem) return <ErrorBox problem={spikes.problem} />;
  if (!spikes || !picture) {
    return (
      <div class="dk-empty">
        <Button disabled={asked} onClick={() => { wanted = true; ask(); }}>{asked ? "Recording…" : "Draw its spikes"}</Button>
        <div class="dk-muted mt-hint">{probes ? "Gives a sentence to the run’s model, as it is now." : "Runs the model once more on the same input."}</div>
      </div>
    );
  }
  return (
    <div class="dk-stack mt-raster">
      <Facts picture={picture} step={spikes.step} />
      <Pictures key={path + side} picture={picture} labels={spikes.tokens} ramps={colours[theme] as Ramps} theme={theme} />
    </div>
  );
}

/** A module that does not fire by itself leads to those in it that do. */
function Inside({ tree, row, onChoose }: { tree: Tree; row: number; onChoose: (path: string) => void }) {
  const firing: number[] = [];
  for (let each = row + 1; each < (tree.end[row] as number); each++) if (tree.fires(each)) firing.push(each);
  if (!firing.length) return <div class="dk-empty">Nothing in this module fires.</div>;
  const from = (tree.paths[row] as string).length;
  return (
    <div class="dk-empty">
      It does not fire by itself; {firing.length === 1 ? "one module" : `${firing.length} modules`} in it {firing.length === 1 ? "does" : "do"}:
      <div class="mt-inside">
        {firing.slice(0, MOST_LINKS).map((each) => {
          const path = tree.paths[each] as string;
          return <button key={each} type="button" class="mt-link" onClick={() => onChoose(path)}>{path.slice(from ? from + 1 : 0)}</button>;
        })}
        {firing.length > MOST_LINKS && <span>and {firing.length - MOST_LINKS} more</span>}
      </div>
    </div>
  );
}
