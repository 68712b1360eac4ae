// The text of a class in CodeMirror: tells what is typed, shows problems, jumps to lines.
import type { CompletionSource } from "@codemirror/autocomplete";
import { useEffect, useImperativeHandle, useLayoutEffect, useRef } from "preact/hooks";
import type { EditProblem } from "../core/code_edit";
import { PythonEditor } from "./setup";

export type Hold = { goTo: (line: number) => void; write: (text: string) => void; focus: () => void };

type Props = {
  hold: { current: Hold | null };
  text: string;
  original: string;
  label: string;
  problems: readonly EditProblem[];
  comparing: boolean;
  locked: boolean;
  onChange: (text: string) => void;
  onRun: () => void;
  onLeave: () => void;
  complete: CompletionSource;
};

export function Code({ hold, text, original, label, problems, comparing, locked, ...listener }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const editor = useRef<PythonEditor | null>(null);
  const heard = useRef(listener);
  heard.current = listener;
  const with_ = (act: (editor: PythonEditor) => void) => { if (editor.current) act(editor.current); };

  useLayoutEffect(() => {
    editor.current = new PythonEditor(box.current as HTMLDivElement, text, label, {
      changed: (now) => heard.current.onChange(now),
      run: () => heard.current.onRun(),
      leave: () => heard.current.onLeave(),
      complete: (context) => heard.current.complete(context),
    });
    return () => { with_((each) => each.close()); editor.current = null; };
  }, []);
  useImperativeHandle(hold, () => ({
    goTo: (line) => with_((each) => each.goTo(line)),
    write: (now) => with_((each) => each.write(now)),
    focus: () => with_((each) => each.focus()),
  }), []);
  useEffect(() => with_((each) => each.compare(comparing ? original : null)), [comparing, original]);
  useEffect(() => with_((each) => each.mark(problems)), [problems]);
  useEffect(() => with_((each) => each.lock(locked)), [locked]);
  return <div class="ce-code" ref={box} data-locked={locked || undefined} />;
}
