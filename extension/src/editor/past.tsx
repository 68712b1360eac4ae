// The edits that were made, newest first; each can be looked at and taken back.
import { useState } from "preact/hooks";
import { countBack, type Past, title } from "../core/code_edit";
import { Button, ErrorBox } from "../ui/parts";

type Props = { history: readonly Past[]; busy: boolean; onRevert: (count: number) => void; onOpen: (path: string) => void; onAgain: (number: number) => void };

export function History({ history, busy, onRevert, onOpen, onAgain }: Props) {
  const [shown, setShown] = useState<number | null>(null);
  if (!history.length) return <div class="dk-empty">No edits yet. What you apply is listed here, and can be taken back.</div>;
  return (
    <ol class="ce-history" aria-label="Edits, newest first">
      {[...history].reverse().map((past) => {
        const back = countBack(history, past.number);
        return (
          <li key={past.number} data-reverted={past.reverted || undefined}>
            <div class="ce-past">
              <span class="ce-badge" title={past.id}>{past.number}</span>
              <button type="button" class="ce-title" aria-expanded={shown === past.number} onClick={() => setShown(shown === past.number ? null : past.number)}>{title(past)}</button>
              <span class="ce-mark" data-kind={past.reverted ? "reverted" : "applied"}>{past.reverted ? "reverted" : "applied"}</span>
              <span class="dk-muted ce-when">{past.step !== null ? `step ${past.step}` : new Date(past.time * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" })}</span>
              {!past.reverted && (
                <Button disabled={busy} onClick={() => onRevert(back)} title={back > 1 ? `Takes back this edit and the ${back - 1} after it` : "Takes back this edit"}>
                  Revert{back > 1 ? ` ${back}` : ""}
                </Button>
              )}
            </div>
            {shown === past.number && (
              <div class="ce-shown">
                <ErrorBox problem={past.problem} />
                <p class="dk-row">{past.targets.map((path) => <button key={path} type="button" class="ce-open" onClick={() => onOpen(path)}>{path || "the model"}</button>)}
                  <span class="dk-grow" />
                  {past.kind === "code" && <Button disabled={busy} onClick={() => onAgain(past.number)} title="Opens its text in the editor">Edit again</Button>}
                </p>
                <Diff text={past.diff} />
              </div>
            )}
          </li>
        );
      })}
    </ol>
  );
}

/** A unified diff, its lines coloured. */
export function Diff({ text }: { text: string }) {
  const look = (line: string) => (/^(\+\+\+|---)/.test(line) ? "file" : line[0] === "+" ? "added" : line[0] === "-" ? "removed" : line[0] === "@" ? "place" : undefined);
  return <pre class="dk-code ce-diff" tabIndex={0} aria-label="Changes">{text.replace(/\n$/, "").split("\n").map((line, at) => <div key={at} data-look={look(line)}>{line || " "}</div>)}</pre>;
}
