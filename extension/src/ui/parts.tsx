// The small parts all widgets are made of. Looks are in theme.css.
import "./theme.css";
import type { ComponentChildren, JSX } from "preact";
import { useRef, useState } from "preact/hooks";
import type { Problem } from "./widget";

type ButtonProps = JSX.IntrinsicElements["button"] & { kind?: "primary" | "danger" | "quiet" };

export function Button({ kind, ...rest }: ButtonProps) {
  return <button type="button" class="dk-button" data-kind={kind} {...rest} />;
}

/** State of a run, a request, a check. */
export function StateChip({ state, title }: { state: string; title?: string }) {
  return <span class="dk-chip" data-state={state} title={title}>{state}</span>;
}

/** A bar from 0 to 1; without a share it only shows that something goes on. */
export function Progress({ share, label }: { share: number | null; label: string }) {
  const width = share === null ? undefined : `${Math.round(1000 * Math.min(1, Math.max(0, share))) / 10}%`;
  return (
    <div
      class="dk-progress"
      role="progressbar"
      aria-label={label}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={share === null ? undefined : Math.round(100 * share)}
      data-indeterminate={share === null}
    >
      <div style={{ width }} />
    </div>
  );
}

/** An error with what was expected, what came, why, and what to do. */
export function ErrorBox({ problem, onDismiss }: { problem: Problem | null | undefined; onDismiss?: () => void }) {
  if (!problem?.message) return null;
  const details: [string, string | undefined][] = [
    ["expected", problem.expected],
    ["received", problem.received],
    ["likely cause", problem.cause],
    ["what to do", problem.fix],
  ];
  const told = details.filter(([, text]) => text);
  return (
    <div class="dk-error" role="alert">
      <div class="dk-row">
        <strong class="dk-grow">{problem.message}</strong>
        {onDismiss && <Button kind="quiet" aria-label="Dismiss this message" onClick={onDismiss}>✕</Button>}
      </div>
      {told.length > 0 && <dl>{told.map(([name, text]) => [<dt key={name}>{name}</dt>, <dd key={`${name}:`}>{text}</dd>])}</dl>}
    </div>
  );
}

/** Tabs by the keyboard rules of ARIA: arrows move, one tab stop. */
export function Tabs({ names, selected, onSelect, label }: {
  names: readonly string[];
  selected: string;
  onSelect: (name: string) => void;
  label: string;
}) {
  const list = useRef<HTMLDivElement>(null);
  const move = (event: KeyboardEvent) => {
    const step = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
    if (!step) return;
    const next = (names.indexOf(selected) + step + names.length) % names.length;
    event.preventDefault();
    onSelect(names[next] as string);
    (list.current?.children[next] as HTMLElement | undefined)?.focus();
  };
  return (
    <div class="dk-tabs" role="tablist" aria-label={label} ref={list} onKeyDown={move}>
      {names.map((name) => (
        <button
          key={name}
          type="button"
          role="tab"
          aria-selected={name === selected}
          tabIndex={name === selected ? 0 : -1}
          onClick={() => onSelect(name)}
        >
          {name}
        </button>
      ))}
    </div>
  );
}

/** Lines may end at spaces only: a browser would also break options and folders after their hyphens. */
function words(text: string): ComponentChildren[] {
  return text.split(/(\S*-\S*)/).map((part, index) => (index % 2 ? <span key={index} class="dk-word">{part}</span> : part));
}

/** Text in a box with a button that copies it. */
export function CodeBox({ text, label }: { text: string; label: string }) {
  const [copied, setCopied] = useState(false);
  const copy = async () => {
    await copyText(text);
    setCopied(true);
    setTimeout(() => setCopied(false), 1500);
  };
  return (
    <div class="dk-row" style={{ alignItems: "flex-start", flexWrap: "nowrap" }}>
      <pre class="dk-code dk-grow" aria-label={label} tabIndex={0}>{words(text)}</pre>
      <Button onClick={copy} aria-label={`Copy ${label}`}>{copied ? "Copied" : "Copy"}</Button>
    </div>
  );
}

/** The clipboard is closed on plain http; selecting the text and the old command still work there. */
export async function copyText(text: string): Promise<void> {
  if (navigator.clipboard && window.isSecureContext) {
    await navigator.clipboard.writeText(text);
    return;
  }
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "dk-hidden";
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

/** Hands a file that Python or the page made to the browser's downloads. */
export function download(name: string, content: BlobPart, type: string): void {
  const url = URL.createObjectURL(new Blob([content], { type }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** A labelled control with help and its own error line, whose place is kept so that nothing jumps. */
export function Field({ label, help, error, id, children }: {
  label: string;
  help?: string;
  error?: string;
  id: string;
  children: ComponentChildren;
}) {
  return (
    <div class="dk-stack" style={{ gap: "2px" }}>
      <label for={id} title={help}>{label}</label>
      {children}
      {error && <span id={`${id}-error`} role="alert" style={{ color: "var(--dk-bad)" }}>{error}</span>}
    </div>
  );
}
