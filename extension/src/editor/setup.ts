// CodeMirror as this widget uses it: Python, errors in the gutter, completion from the kernel, changes against the original.
import { autocompletion, closeBrackets, closeBracketsKeymap, completionKeymap, completionStatus, type CompletionSource } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap, indentWithTab } from "@codemirror/commands";
import { python } from "@codemirror/lang-python";
import { bracketMatching, indentOnInput, indentUnit, syntaxHighlighting } from "@codemirror/language";
import { lintGutter, lintKeymap, setDiagnostics } from "@codemirror/lint";
import { unifiedMergeView } from "@codemirror/merge";
import { Annotation, Compartment, EditorState, type Extension, Prec } from "@codemirror/state";
import {
  drawSelection, EditorView, highlightActiveLine, highlightActiveLineGutter, highlightSpecialChars, keymap, lineNumbers,
} from "@codemirror/view";
import { diagnosticsOf, type EditProblem } from "../core/code_edit";
import { colours } from "./colours";

/** What the editor tells and asks. */
export interface Listener {
  changed(text: string): void;
  run(): void;
  leave(): void;
  complete: CompletionSource;
}

const fromOutside = Annotation.define<boolean>();

/** One editor in an element of the page. */
export class PythonEditor {
  private readonly view: EditorView;
  private readonly comparison = new Compartment();
  private readonly writing = new Compartment();

  constructor(parent: HTMLElement, text: string, label: string, listener: Listener) {
    this.view = new EditorView({
      parent,
      state: EditorState.create({ doc: text, extensions: [this.writing.of([]), this.comparison.of([]), ...base(label, listener)] }),
    });
  }

  get text(): string {
    return this.view.state.doc.toString();
  }

  /** Puts another text in, as one step that can be undone; nothing is told back. */
  write(text: string): void {
    if (text === this.text) return;
    this.view.dispatch({
      changes: { from: 0, to: this.view.state.doc.length, insert: text },
      selection: { anchor: Math.min(this.view.state.selection.main.anchor, text.length) },
      annotations: fromOutside.of(true),
    });
  }

  lock(locked: boolean): void {
    this.view.dispatch({ effects: this.writing.reconfigure(locked ? [EditorState.readOnly.of(true)] : []) });
  }

  /** Shows what was changed and taken away, in place; null shows the text alone. */
  compare(original: string | null): void {
    const shown = original === null ? [] : unifiedMergeView({
      original,
      mergeControls: (type, action) => control(type, action),
      collapseUnchanged: { margin: 3, minSize: 6 },
    });
    this.view.dispatch({ effects: this.comparison.reconfigure(shown as Extension) });
  }

  mark(problems: readonly EditProblem[]): void {
    this.view.dispatch(setDiagnostics(this.view.state, diagnosticsOf(problems, this.view.state.doc)));
  }

  /** Puts the cursor at the first letter of a line, counted from 1. */
  goTo(line: number): void {
    const at = this.view.state.doc.line(Math.min(Math.max(line, 1), this.view.state.doc.lines));
    const anchor = at.from + (at.text.length - at.text.trimStart().length);
    this.view.dispatch({ selection: { anchor }, effects: EditorView.scrollIntoView(anchor, { y: "center" }) });
    this.view.focus();
  }

  focus(): void {
    this.view.focus();
  }

  close(): void {
    this.view.destroy();
  }
}

function base(label: string, listener: Listener): Extension[] {
  return [
    lineNumbers(),
    lintGutter(),
    highlightActiveLineGutter(),
    highlightSpecialChars(),
    history(),
    drawSelection(),
    indentUnit.of("    "),
    indentOnInput(),
    bracketMatching(),
    closeBrackets(),
    highlightActiveLine(),
    python(),
    syntaxHighlighting(colours),
    autocompletion({ override: [listener.complete], maxRenderedOptions: 60 }),
    EditorView.contentAttributes.of({ "aria-label": `${label}. Escape leaves the editor.`, spellcheck: "false" }),
    EditorView.updateListener.of((update) => {
      const own = update.docChanged && !update.transactions.some((each) => each.annotation(fromOutside));
      if (own) listener.changed(update.state.doc.toString());
    }),
    Prec.highest(keymap.of([
      { key: "Mod-Enter", run: () => (listener.run(), true) },
      { key: "Escape", run: (view) => completionStatus(view.state) === null && (listener.leave(), true) },
    ])),
    keymap.of([...closeBracketsKeymap, ...completionKeymap, ...lintKeymap, ...historyKeymap, ...defaultKeymap, indentWithTab]),
  ];
}

/** A changed piece can be put back; the original is never changed, so there is nothing to accept. */
function control(type: "reject" | "accept", action: (event: MouseEvent) => void): HTMLElement {
  const button = document.createElement(type === "reject" ? "button" : "span");
  if (type === "reject") {
    button.textContent = "Undo";
    button.title = "Undo this change";
    button.className = "ce-undo";
    button.onmousedown = action;
    button.setAttribute("type", "button");
  }
  return button;
}
