// The end of a log, followed until the reader scrolls up; and a search through all of it.
import { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { plain, type Span, spans, type Style } from "../core/ansi";
import { short } from "../core/format";
import { type Batch, type Line, LogLines, matches } from "../core/log_lines";
import { Button } from "../ui/parts";
import { type Model, useAsk, useMessages } from "../ui/widget";

type Hits = { text: string; more: boolean; lines: [string, string][] };
const decoder = new TextDecoder();
const SEARCH_MS = 250;

export function LogView({ model }: { model: Model }) {
  const ask = useAsk(model);
  const view = useMemo(() => Math.random().toString(36).slice(2), []);
  const log = useRef(new LogLines());
  const [lines, setLines] = useState<Line[] | null>(null);
  const [search, setSearch] = useState("");
  const [hits, setHits] = useState<Hits | null>(null);
  const [wrap, setWrap] = useState(true);
  const wanted = useRef("");
  wanted.current = search.trim();

  const heard = useCallback((message: Record<string, unknown>, buffers: DataView[]) => {
    const text = () => decoder.decode(buffers[0]);
    const batch = message.log as { view: string | null; before: number; skipped: number } | undefined;
    if (batch && (batch.view === null || batch.view === view)) {
      const whole = { before: batch.before, skipped: batch.skipped, text: text() } satisfies Batch;
      if (batch.view === view) log.current.replace(whole);
      else if (!log.current.append(whole)) ask("log", { view });
      setLines(log.current.lines);
    }
    const found = message.hits as { view: string; text: string; more: boolean } | undefined;
    if (found?.view === view && found.text === wanted.current) {
      const rows = text().split("\n").filter(Boolean).map((row) => [row.slice(0, row.indexOf("\t")), row.slice(row.indexOf("\t") + 1)] as [string, string]);
      setHits({ text: found.text, more: found.more, lines: rows });
    }
    if (message.log_reset) ask("log", { view });
  }, [ask, view]);
  useMessages(model, heard);
  useEffect(() => ask("log", { view }), [ask, view]);
  useEffect(() => {
    const text = search.trim();
    if (!text) {
      setHits(null);
      return undefined;
    }
    const timer = setTimeout(() => ask("search", { text, view }), SEARCH_MS);
    return () => clearTimeout(timer);
  }, [search, ask, view]);

  const told = !search.trim() ? "" : !hits || hits.text !== search.trim() ? "searching…"
    : hits.more ? `last ${hits.lines.length} lines with it` : `${hits.lines.length || "no"} ${hits.lines.length === 1 ? "line" : "lines"}`;
  return (
    <div class="rp-log">
      <div class="rp-tools">
        <input
          class="dk-input"
          type="search"
          placeholder="Search the whole log"
          aria-label="Search the whole log"
          value={search}
          onInput={(event) => setSearch(event.currentTarget.value)}
          onKeyDown={(event) => { if (event.key === "Escape") setSearch(""); }}
        />
        <span class="dk-muted rp-told" role="status">{told}</span>
        <label class="rp-check"><input type="checkbox" checked={wrap} onChange={(event) => setWrap(event.currentTarget.checked)} />wrap</label>
      </div>
      {search.trim() ? <Found hits={hits} wrap={wrap} /> : <Tail lines={lines} wrap={wrap} />}
    </div>
  );
}

function Tail({ lines, wrap }: { lines: Line[] | null; wrap: boolean }) {
  const box = useRef<HTMLDivElement>(null);
  // What a reader who scrolled up looks at: it stays as it is, however much comes.
  const [held, setHeld] = useState<Line[] | null>(null);
  const shown = held ?? lines;
  const fresh = held && lines ? lines.filter((line) => line.number > (held.at(-1)?.number ?? -1) && !line.skipped).length : 0;
  useLayoutEffect(() => {
    if (!held && box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [lines, held, wrap]);
  const scrolled = () => {
    const { scrollTop, scrollHeight, clientHeight } = box.current as HTMLDivElement;
    const atEnd = scrollHeight - scrollTop - clientHeight < 6;
    if (atEnd && held) setHeld(null);
    else if (!atEnd && !held) setHeld(lines);
  };
  return (
    <div class="rp-frame">
      <div class="rp-lines" data-wrap={wrap} ref={box} onScroll={scrolled} tabIndex={0} role="log" aria-live="off" aria-label="End of the log">
        {shown && shown.length > 0 ? <Lines lines={shown} /> : <div class="dk-empty">{lines ? "Nothing was written yet." : " "}</div>}
      </div>
      {held && (
        <Button class="dk-button rp-jump" onClick={() => setHeld(null)}>
          ↓ {fresh ? `${fresh >= (lines?.length ?? 0) ? "many" : fresh} new` : "follow"}
        </Button>
      )}
    </div>
  );
}

function Lines({ lines }: { lines: Line[] }) {
  let style: Style = {};
  return (
    <>
      {lines.map((line) => {
        if (line.skipped) return <div key={line.number} class="rp-line dk-muted">… {short(line.skipped)}B left out …</div>;
        const [parts, after] = spans(line.text, style);
        style = after;
        return <div key={line.number} class="rp-line">{parts.length ? parts.map((span, at) => <Piece key={at} {...span} />) : "\u200b"}</div>;
      })}
    </>
  );
}

function Piece({ text, style }: Span) {
  const { colour, bold, dim, italic, underline } = style;
  if (!colour && !bold && !dim && !italic && !underline) return <>{text}</>;
  const named = colour !== undefined && /^\d+$/.test(colour);
  return (
    <span
      class={named ? `rp-ansi-${colour}` : undefined}
      style={{
        color: named ? undefined : colour,
        fontWeight: bold ? 600 : undefined,
        opacity: dim ? 0.65 : undefined,
        fontStyle: italic ? "italic" : undefined,
        textDecoration: underline ? "underline" : undefined,
      }}
    >{text}</span>
  );
}

function Found({ hits, wrap }: { hits: Hits | null; wrap: boolean }) {
  return (
    <div class="rp-frame">
      <div class="rp-lines" data-wrap={wrap} tabIndex={0} role="region" aria-label="Lines found in the log">
        {hits?.lines.map(([number, text]) => (
          <div key={number} class="rp-line rp-hit"><span class="rp-number">{number}</span><Marked text={plain(text)} wanted={hits.text} /></div>
        ))}
        {hits && !hits.lines.length && <div class="dk-empty">No line holds “{hits.text}”.</div>}
      </div>
    </div>
  );
}

function Marked({ text, wanted }: { text: string; wanted: string }) {
  let from = 0;
  const parts = matches(text, wanted).flatMap(([start, end]) => {
    const piece = [text.slice(from, start), <mark key={start}>{text.slice(start, end)}</mark>];
    from = end;
    return piece;
  });
  return <span>{parts}{text.slice(from)}</span>;
}
