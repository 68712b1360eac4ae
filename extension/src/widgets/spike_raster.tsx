// A text seen through a spiking model: tokens from left to right, features from top to bottom, one dot per spike train.
import "./spike_raster.css";
import { useEffect, useMemo, useState } from "preact/hooks";
import type { Ramps } from "../core/spike_colour";
import { type PictureTrait, SpikePicture } from "../core/spike_picture";
import { LayerPicker, type Listed } from "../raster/layer_picker";
import { Facts, Raster } from "../raster/raster";
import { Button, ErrorBox, Progress } from "../ui/parts";
import { type Model, type Problem, useAsk, useSharedTrait, useTheme, useTrait, widget } from "../ui/widget";

function SpikeRaster({ model }: { model: Model }) {
  const layers = useTrait<Listed[]>(model, "layers");
  const labels = useTrait<string[]>(model, "tokens");
  const trait = useTrait<PictureTrait | null>(model, "picture");
  const colours = useTrait<Record<string, Ramps>>(model, "colours");
  const step = useTrait<number | null>(model, "step");
  const runName = useTrait<string>(model, "run_name");
  const [layer, setLayer] = useSharedTrait<string>(model, "layer");
  const theme = useTheme();
  const picture = useMemo(() => (trait ? new SpikePicture(trait) : null), [trait]);
  return (
    <section class="dk-card sr" aria-label="Spike raster">
      {runName && <ProbeField model={model} runName={runName} />}
      {picture && labels.length === picture.facts.tokens
        ? (
          <>
            <LayerPicker layers={layers} layer={layer} onSelect={setLayer} />
            <Facts picture={picture} step={step} />
            <Raster key={labels.join("\n")} picture={picture} labels={labels} ramps={colours[theme] as Ramps} theme={theme} />
          </>
        )
        : <Empty bound={Boolean(runName)} />}
    </section>
  );
}

function ProbeField({ model, runName }: { model: Model; runName: string }) {
  const ask = useAsk(model);
  const sentence = useTrait<string>(model, "sentence");
  const progress = useTrait<string>(model, "progress");
  const problem = useTrait<Problem | null>(model, "problem");
  const [text, setText] = useState(sentence);
  useEffect(() => setText(sentence), [sentence]);
  const send = () => { if (text && !progress) ask("probe", { text }); };
  const told = { waiting: "waiting for the run …", running: "reading the sentence …" }[progress];
  return (
    <div class="dk-stack sr-probe">
      <form class="sr-form" onSubmit={(event) => { event.preventDefault(); send(); }}>
        <textarea
          class="dk-input sr-sentence"
          rows={1}
          aria-label={`Sentence to give to the run ${runName}`}
          placeholder="Type a sentence and press Enter to see its spikes"
          value={text}
          onInput={(event) => setText(event.currentTarget.value)}
          onKeyDown={(event) => { if (event.key === "Enter" && !event.shiftKey) { event.preventDefault(); send(); } }}
        />
        <Button kind="primary" type="submit" aria-disabled={Boolean(progress) || !text} title={`Give this text to ${runName} (Enter)`}>See it spike</Button>
      </form>
      <div class="sr-progress" role="status">
        {told ? <><Progress share={null} label={told} /><span class="dk-muted">{told}</span></> : null}
      </div>
      <ErrorBox problem={problem} onDismiss={() => ask("dismiss")} />
    </div>
  );
}

function Empty({ bound }: { bound: boolean }) {
  return (
    <div class="dk-empty">
      {bound ? "Type a sentence above and press Enter: every dot will be a feature that fires for a token." : "Nothing to show yet. Give this raster a snapshot or a run."}
    </div>
  );
}

export default widget(SpikeRaster);
