// Completion from the kernel: asked by message, answered by message, given up when the kernel is busy.
import type { Completion, CompletionContext, CompletionResult } from "@codemirror/autocomplete";
import type { Model } from "../ui/widget";

const PATIENCE_MS = 2500;
const KINDS: Record<string, string> = { function: "function", class: "class", module: "namespace", param: "variable", statement: "variable", instance: "variable", property: "property", keyword: "keyword", path: "text" };

type Answer = { completions?: number; from?: number; items?: [name: string, kind: string, about: string, rank: number][] };

/** Asks the kernel what could stand at the cursor. */
export function completer(model: Model) {
  let asked = 0;
  return (context: CompletionContext): Promise<CompletionResult | null> | null => {
    const word = context.matchBefore(/[\w.]*/);
    if (!context.explicit && (!word || !/[\w.]$/.test(word.text) || /^\d/.test(word.text))) return null;
    asked += 1;
    const id = asked;
    return new Promise((done) => {
      const finish = (result: CompletionResult | null) => {
        clearTimeout(timer);
        model.off("msg:custom", heard);
        done(result);
      };
      const heard = (answer: Answer) => {
        if (answer.completions === id) finish(answer.items?.length ? { from: answer.from as number, options: answer.items.map(option), validFor: /^\w*$/ } : null);
      };
      const timer = setTimeout(() => finish(null), PATIENCE_MS);
      model.on("msg:custom", heard);
      context.addEventListener("abort", () => finish(null));
      model.send({ do: "complete", id, text: context.state.doc.toString(), at: context.pos });
    });
  };
}

function option([label, kind, detail, boost]: [string, string, string, number]): Completion {
  return { label, type: KINDS[kind] ?? "variable", detail, boost };
}
