// The same beginning continued by the float model and by the converted one, token by token.
import { useEffect, useRef, useState } from "preact/hooks";
import { significant } from "../core/format";
import { ErrorBox } from "../ui/parts";
import { PromptForm } from "../ui/prompt";
import type { Problem } from "../ui/widget";

type Written = { name: string; state: string; text: string; tokens: number; per_second: number | null; firing_rate: number | null };
export type Sample = {
  id: string; prompt: string; most: number; stage: "writing" | "done" | "failed"; stopping: boolean; problem: Problem | null; texts: Written[];
};
type Ask = (name: string, rest?: Record<string, unknown>) => void;

export function Samples({ sample, id, ask }: { sample: Sample | null; id: string; ask: Ask }) {
  const [prompt, setPrompt] = useState(sample?.prompt ?? "def ");
  const own = sample?.id === id ? sample : null;
  return (
    <div class="cv-samples">
      <div class="cv-part-head">Let both write</div>
      <PromptForm
        prompt={prompt} onPrompt={setPrompt} label="Beginning of a text" go="Let both write" title="The float model and the converted one continue the text"
        busy={own?.stage === "writing"} stopping={Boolean(own?.stopping)} onGo={() => ask("write_on", { id, prompt })} onStop={() => ask("stop_writing")}
      />
      <ErrorBox problem={own?.problem} />
      {own && (
        <div class="cv-pair">
          {own.texts.map((text, index) => <Text key={index} text={text} prompt={own.prompt} most={own.most} next={own.texts[index - 1]?.state !== "waiting" && own.texts[index - 1]?.state !== "running"} />)}
        </div>
      )}
    </div>
  );
}

/** What one model wrote; models come one after the other, and each is loaded first. */
function Text({ text, prompt, most, next }: { text: Written; prompt: string; most: number; next: boolean }) {
  const page = useRef<HTMLPreElement>(null);
  const busy = text.state === "waiting" || text.state === "running";
  useEffect(() => {
    if (page.current && busy) page.current.scrollTop = page.current.scrollHeight; // the newest token stays in sight
  }, [text.tokens]);
  return (
    <section aria-label={`Written by ${text.name}`}>
      <div class="cv-facts cv-written-facts"><b>{text.name}</b> <span>{reading(text, most, next)}</span></div>
      <pre ref={page} class="dk-code" tabIndex={0} aria-busy={busy} data-none={!text.tokens}><b>{prompt}</b>{text.text}{text.state === "running" && <span class="dk-caret" aria-hidden="true" />}</pre>
    </section>
  );
}

function reading(text: Written, most: number, next: boolean): string {
  if (text.state === "waiting") return next ? "is being loaded …" : "comes next";
  if (text.state === "running" && !text.tokens) return "reads the beginning …";
  return [
    text.state === "failed" ? "failed" : text.state === "running" ? `${text.tokens} of ${most} tokens` : `${text.tokens} tokens`,
    text.per_second === null ? "" : `${significant(text.per_second, 3)} tokens/s`,
    text.firing_rate === null ? "" : `fires ${(100 * text.firing_rate).toFixed(1)} %`,
  ].filter(Boolean).join(" · ");
}
