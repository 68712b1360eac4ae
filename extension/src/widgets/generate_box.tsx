// A run writes: prompt, settings, and the tokens as they come, each coloured by how much fired for it.
import "./generate_box.css";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { energy, significant, whole } from "../core/format";
import { along } from "../core/spike_colour";
import { barHeights, pythonLine, rateSpan, type SaidTrait, type Settings, type Token, tokensOf, totals, written } from "../core/token_stream";
import { Button, CodeBox, copyText, ErrorBox } from "../ui/parts";
import { PromptForm } from "../ui/prompt";
import { type Model, type Problem, useAsk, useTheme, useTrait, widget } from "../ui/widget";

type Setting = { name: keyof Settings; label: string; help: string; min: number; max?: number; step: number; empty?: string };

const SETTINGS: Setting[] = [
  { name: "max_new_tokens", label: "Tokens", help: "How many tokens to write at most.", min: 1, max: 2048, step: 1 },
  { name: "temperature", label: "Temperature", help: "0 always takes the likeliest token; 1 draws as the model believes; higher is wilder.", min: 0, step: 0.1 },
  { name: "top_k", label: "Top-k", help: "Draw from the k likeliest tokens only; 0 takes all.", min: 0, step: 1 },
  { name: "top_p", label: "Top-p", help: "Draw from the smallest set of tokens that has this probability together; 1 takes all.", min: 0.01, max: 1, step: 0.05 },
  { name: "seed", label: "Seed", help: "The same seed gives the same text; empty draws anew each time.", min: 0, step: 1, empty: "any" },
];

function GenerateBox({ model }: { model: Model }) {
  const ask = useAsk(model);
  const runName = useTrait<string>(model, "run_name");
  const progress = useTrait<string>(model, "progress");
  const stopping = useTrait<boolean>(model, "stopping");
  const problem = useTrait<Problem | null>(model, "problem");
  const said = useTrait<SaidTrait | null>(model, "said");
  const given = useTrait<string>(model, "prompt");
  const [prompt, setPrompt] = useState(given);
  useEffect(() => setPrompt(given), [given]);
  const [settings, setSettings] = useSettings(model);
  const tokens = useMemo(() => (said ? tokensOf(said) : []), [said]);
  if (!runName) return <section class="dk-card"><div class="dk-empty">No run is bound, so there is nobody to write. Start one, or choose one from the list of runs.</div></section>;
  return (
    <section class="dk-card gb" aria-label={`Generate with ${runName}`}>
      <PromptForm
        prompt={prompt} onPrompt={setPrompt} label="Prompt" go="Generate" title={`Let ${runName} continue the prompt`}
        busy={Boolean(progress)} stopping={stopping} onGo={() => ask("generate", { prompt, settings })} onStop={() => ask("stop")}
      >
        <div class="gb-settings">
          {SETTINGS.map((setting) => (
            <NumberField key={setting.name} setting={setting} value={settings[setting.name]} onChange={(value) => setSettings({ ...settings, [setting.name]: value })} />
          ))}
        </div>
      </PromptForm>
      <ErrorBox problem={problem} onDismiss={() => ask("dismiss")} />
      <Said model={model} prompt={said?.prompt ?? ""} tokens={tokens} progress={progress} />
      <details class="gb-python"><summary>In Python</summary><CodeBox text={pythonLine(prompt, settings)} label="the line of Python" /></details>
    </section>
  );
}

/** What stands in the fields: the traits of Python, until somebody types. */
function useSettings(model: Model): [Settings, (next: Settings) => void] {
  const read = () => Object.fromEntries(SETTINGS.map(({ name }) => [name, model.get(name)])) as Settings;
  const [settings, setSettings] = useState(read);
  useEffect(() => {
    const changed = () => setSettings(read());
    SETTINGS.forEach(({ name }) => model.on(`change:${name}`, changed));
    return () => SETTINGS.forEach(({ name }) => model.off(`change:${name}`, changed));
  }, [model]);
  return [settings, setSettings];
}

function NumberField({ setting, value, onChange }: { setting: Setting; value: number | null; onChange: (value: number | null) => void }) {
  return (
    <label class="gb-field" title={setting.help}>
      <span class="dk-muted">{setting.label}</span>
      <input
        class="dk-input" type="number" min={setting.min} max={setting.max} step={setting.step} value={value ?? ""} placeholder={setting.empty}
        aria-description={setting.help}
        onInput={(event) => onChange(event.currentTarget.value === "" ? null : Number(event.currentTarget.value))}
      />
    </label>
  );
}

function Said({ model, prompt, tokens, progress }: { model: Model; prompt: string; tokens: Token[]; progress: string }) {
  const ramps = useTrait<Record<string, string[]>>(model, "ramps");
  const theme = useTheme();
  const ramp = ramps[theme] as string[];
  const [hovered, setHovered] = useState<number | null>(null);
  const [copied, setCopied] = useState(false);
  const span = rateSpan(tokens);
  const page = useRef<HTMLDivElement>(null);
  useEffect(() => {
    // Keep the newest token in sight while it is being written, unless the reader looks elsewhere.
    if (page.current && progress && hovered === null) page.current.scrollTop = page.current.scrollHeight;
  }, [tokens.length]);
  const shown = hovered !== null ? tokens[hovered] : undefined;
  const copy = async () => {
    await copyText(prompt + tokens.map((token) => token.text).join(""));
    setCopied(true);
    setTimeout(() => setCopied(false), 1500);
  };
  const at = (event: Event) => {
    const index = (event.target as HTMLElement).dataset?.token;
    setHovered(index === undefined ? null : Number(index));
  };
  return (
    <div class="gb-said">
      <div ref={page} class="gb-page" aria-label="Generated text" role="log" tabIndex={0} onMouseOver={at} onMouseLeave={() => setHovered(null)} onClick={at}>
        <span class="gb-given">{prompt}</span>
        {tokens.map((token) => <Chip key={token.index} token={token} span={span} ramp={ramp} marked={token.index === hovered} />)}
        {progress && <span class="dk-caret" aria-hidden="true" />}
        {!tokens.length && !progress && <span class="dk-muted">What the model writes appears here, coloured by how much of it fired for each token.</span>}
      </div>
      <Strip tokens={tokens} span={span} ramp={ramp} hovered={hovered} onHover={setHovered} />
      <p class="gb-readout" role="status">{shown ? <OfToken token={shown} /> : <Sum tokens={tokens} progress={progress} />}</p>
      <div class="dk-row gb-foot">
        {span && <span class="dk-muted gb-scale">fires {share(span[0])} <i style={{ background: `linear-gradient(90deg, ${ramp.join(", ")})` }} /> {share(span[1])}</span>}
        <span class="dk-grow" />
        <Button kind="quiet" aria-disabled={!tokens.length} onClick={() => { if (tokens.length) void copy(); }}>{copied ? "Copied" : "Copy text"}</Button>
      </div>
    </div>
  );
}

function Chip({ token, span, ramp, marked }: { token: Token; span: [number, number] | null; ramp: string[]; marked: boolean }) {
  const colour = colourOf(token, span, ramp);
  const style = colour ? { background: `rgb(${colour.join(" ")} / 20%)`, borderBottomColor: `rgb(${colour.join(" ")})` } : undefined;
  return <span class="gb-token" data-token={token.index} data-marked={marked} style={style}>{written(token)}</span>;
}

/** One bar a token, as high as its energy and as coloured as its text. */
function Strip({ tokens, span, ramp, hovered, onHover }: {
  tokens: Token[]; span: [number, number] | null; ramp: string[]; hovered: number | null; onHover: (index: number | null) => void;
}) {
  const energies = tokens.map((token) => token.energyPj ?? 0);
  const heights = barHeights(energies);
  const [low, high] = [Math.min(...energies), Math.max(...energies)].map(energy);
  return (
    <figure class="gb-strip-box" data-empty={!tokens.length}>
      <div class="gb-strip" aria-hidden="true" onMouseLeave={() => onHover(null)}>
        {tokens.map((token, index) => {
          const colour = colourOf(token, span, ramp);
          return (
            <div key={index} class="gb-slot" data-marked={index === hovered} onMouseEnter={() => onHover(index)}>
              <div style={{ height: `${heights[index]}%`, background: colour ? `rgb(${colour.join(" ")})` : undefined }} />
            </div>
          );
        })}
      </div>
      <figcaption class="dk-muted">{tokens.length ? `energy of each token, ${low === high ? low : `${low} to ${high}`}, simulated` : ""}</figcaption>
    </figure>
  );
}

/** Ends of the colours are half percents. */
function share(value: number): string {
  return `${Number((100 * value).toFixed(1))} %`;
}

function colourOf(token: Token, span: [number, number] | null, ramp: string[]): [number, number, number] | null {
  if (token.firingRate === null || !span) return null;
  return along(ramp, (token.firingRate - span[0]) / (span[1] - span[0]));
}

function OfToken({ token }: { token: Token }) {
  return (
    <>
      <span>token {token.index + 1} <span class="dk-mono gb-chip">{token.label}</span></span>
      {token.firingRate !== null && <span><b>{(100 * token.firingRate).toFixed(1)} %</b> of its slots fired</span>}
      {token.unaryEvents !== null && <span>{whole(token.unaryEvents)} unit spikes</span>}
      {token.energyPj !== null && <span><b>{energy(token.energyPj)}</b> simulated</span>}
      <span>{significant(1000 * token.seconds, 3)} ms here</span>
    </>
  );
}

function Sum({ tokens, progress }: { tokens: Token[]; progress: string }) {
  if (!tokens.length) return <span class="dk-muted">{{ waiting: "waiting for the run …", running: "reading the prompt …" }[progress] ?? "Point at a token to see what it took."}</span>;
  const sum = totals(tokens);
  return (
    <>
      <span><b>{sum.tokens}</b> {sum.tokens === 1 ? "token" : "tokens"}</span>
      {sum.tokensPerSecond !== null && <span><b>{significant(sum.tokensPerSecond, 3)}</b> tokens/s</span>}
      {sum.firingRate !== null && <span>fires <b>{(100 * sum.firingRate).toFixed(1)} %</b></span>}
      {sum.energyPj !== null && <span><b>{energy(sum.energyPj)}</b> per token, <em>simulated</em></span>}
    </>
  );
}

export default widget(GenerateBox);
