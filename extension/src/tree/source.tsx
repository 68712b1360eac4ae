// The text of a module's class, fetched from the kernel when it is looked at.
import { useEffect } from "preact/hooks";
import type { Side } from "../core/tree_compare";
import type { Model } from "../ui/widget";
import { type About, useAnswer } from "./answer";

type Text = About & { text: string; reason: string; file?: string; line?: number; forward_line?: number };

export function Source({ model, path, side }: { model: Model; path: string; side: Side }) {
  const [source, ask] = useAnswer<Text>(model, "source", path, side);
  useEffect(() => { if (!source) ask(); }, [path, side]);
  if (!source) return <div class="dk-empty">Asking the kernel…</div>;
  if (!source.text) return <div class="dk-empty">{source.reason}</div>;
  const first = source.line ?? 1;
  return (
    <div class="mt-source">
      <p class="dk-muted dk-mono mt-file" title={source.file}>{source.file}:{first}</p>
      <pre class="dk-code" tabIndex={0} aria-label={`Source of ${path}`}>
        {source.text.replace(/\n$/, "").split("\n").map((line, at) => (
          <div key={at} data-forward={first + at === source.forward_line || undefined}><i aria-hidden="true">{first + at}</i>{line || " "}</div>
        ))}
      </pre>
      {source.reason && <p class="dk-muted">{source.reason}</p>}
    </div>
  );
}
