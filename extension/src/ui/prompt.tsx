// A text that models continue: Enter begins, Escape ends; a second click of either does nothing.
import "./prompt.css";
import type { ComponentChildren } from "preact";
import { Button } from "./parts";

export function PromptForm({ prompt, onPrompt, label, go, title, busy, stopping, onGo, onStop, children }: {
  prompt: string;
  onPrompt: (prompt: string) => void;
  label: string;
  /** What the button says, and what it does. */
  go: string;
  title: string;
  busy: boolean;
  stopping: boolean;
  onGo: () => void;
  onStop: () => void;
  children?: ComponentChildren;
}) {
  const begin = () => { if (!busy) onGo(); };
  const end = () => { if (busy && !stopping) onStop(); };
  return (
    <form class="dk-prompt" noValidate onSubmit={(event) => { event.preventDefault(); begin(); }}>
      <textarea
        class="dk-input" rows={2} aria-label={label} placeholder="Text to continue" spellcheck={false} value={prompt}
        onInput={(event) => onPrompt(event.currentTarget.value)}
        onKeyDown={(event) => {
          if (event.key === "Enter" && !event.shiftKey) { event.preventDefault(); begin(); }
          if (event.key === "Escape") end();
        }}
      />
      <div class="dk-prompt-go">
        <Button kind="primary" type="submit" aria-disabled={busy} title={`${title} (Enter)`}>{go}</Button>
        <Button onClick={end} aria-disabled={!busy || stopping} title="End at the next token (Escape)">{stopping ? "Stopping …" : "Stop"}</Button>
      </div>
      {children}
    </form>
  );
}
