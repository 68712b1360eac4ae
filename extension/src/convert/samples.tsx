// The same beginning continued by the float model and by the converted one.
import { useState } from "preact/hooks";
import { Button, ErrorBox } from "../ui/parts";
import type { Problem } from "../ui/widget";

export type Sample = {
  id: string; prompt: string; stage: "writing" | "done" | "failed"; problem: Problem | null;
  texts: { name: string; text: string }[];
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
      {own && own.texts.length > 0 && (
        <div class="cv-pair">
          {own.texts.map(({ name, text }) => (
            <section key={name} aria-label={`Written by ${name}`}>
              <div class="cv-facts">{name}</div>
              <pre class="dk-code"><b>{own.prompt}</b>{text}</pre>
            </section>
          ))}
        </div>
      )}
    </div>
  );
}
