// The same beginning continued by the float model and by the converted one.
import { useState } from "preact/hooks";
import { Button, ErrorBox } from "../ui/parts";
import type { Problem } from "../ui/widget";

export type Sample = {
  id: string; prompt: string; stage: "writing" | "done" | "failed"; problem: Problem | null;
  texts: { name: string; text: string }[]; names: string[];
};
type Ask = (name: string, rest?: Record<string, unknown>) => void;

export function Samples({ sample, id, ask }: { sample: Sample | null; id: string; ask: Ask }) {
  const [prompt, setPrompt] = useState(sample?.prompt ?? "def ");
  const own = sample?.id === id ? sample : null;
  const writing = own?.stage === "writing";
  return (
    <div class="cv-samples">
      <div class="cv-part-head">Let both write</div>
      <form class="dk-row" onSubmit={(event) => { event.preventDefault(); if (!writing) ask("write_on", { id, prompt }); }}>
        <input class="dk-input dk-mono dk-grow" aria-label="Beginning of a text" spellcheck={false} autocomplete="off" value={prompt} onInput={(event) => setPrompt(event.currentTarget.value)} />
        <Button type="submit" disabled={writing || !prompt}>{writing ? "Writing…" : "Let both write on"}</Button>
      </form>
      <ErrorBox problem={own?.problem} />
      {own && (writing || own.texts.length > 0) && (
        <div class="cv-pair">
          {own.names.map((name, index) => <Text key={name} name={name} prompt={own.prompt} text={own.texts[index]?.text} next={writing && index === own.texts.length} />)}
        </div>
      )}
    </div>
  );
}

/** What one model wrote; models come one after the other, and each is loaded first. */
function Text({ name, prompt, text, next }: { name: string; prompt: string; text: string | undefined; next: boolean }) {
  return (
    <section aria-label={`Written by ${name}`}>
      <div class="cv-facts">{name}{next && ": is loaded, and writes…"}</div>
      <pre class="dk-code" data-none={text === undefined}><b>{prompt}</b>{text}</pre>
    </section>
  );
}
