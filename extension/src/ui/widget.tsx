// What every widget does: mount a preact view, follow traits and the theme, hide its static snapshot, talk to Python.
import type { AnyModel } from "@anywidget/types";
import { type ComponentType, render as draw } from "preact";
import { useCallback, useEffect, useMemo, useState } from "preact/hooks";
import { isDark } from "../core/theme";
import { awaken } from "./awake";

const BEAT_MS = 20_000;

export type Model = AnyModel<Record<string, unknown>>;
export type Problem = { message: string; expected?: string; received?: string; cause?: string; fix?: string };
export type Theme = "light" | "dark";

/** The module that anywidget loads: mounts `View` and cleans up after it. */
export function widget(View: ComponentType<{ model: Model }>) {
  return {
    async render({ model, el }: { model: Model; el: HTMLElement }) {
      const name = model.get("_snapshot_id") as string | undefined;
      if (name) await awaken(model.widget_manager as never, name);
      const root = document.createElement("div");
      root.className = "dk";
      // JupyterLab acts on single keys in command mode (dd deletes the cell) and on Shift-Enter; typing here is ours.
      root.addEventListener("keydown", keepTyping);
      root.dataset.lmSuppressShortcuts = "true";
      el.append(root);
      const forget = [hideSnapshot(model), followTheme((theme) => { root.dataset.theme = theme; })];
      forget.push(beat(model));
      draw(<View model={model} />, root);
      return () => {
        draw(null, root);
        forget.forEach((undo) => undo());
      };
    },
  };
}

/** Tells the kernel that this page is there: what a closed page is sent, the server would keep for ever. */
function beat(model: Model): () => void {
  const tell = () => {
    try {
      model.send({ do: "beat" });
    } catch {
      clearInterval(timer); // the kernel was restarted: it knows this widget no more
    }
  };
  const timer = setInterval(tell, BEAT_MS);
  tell();
  return () => clearInterval(timer);
}

function keepTyping(event: KeyboardEvent) {
  const target = event.target as HTMLElement;
  if (target.matches("input, textarea, select, [contenteditable=true]")) event.stopPropagation();
}

/** The static picture beside a live widget is for readers without a kernel; it goes while the widget lives. */
function hideSnapshot(model: Model): () => void {
  const id = model.get("_snapshot_id") as string | undefined;
  if (!id) return () => undefined;
  const style = document.createElement("style");
  style.textContent = `.dk-snapshot-${CSS.escape(id)} { display: none !important; }`;
  document.head.append(style);
  return () => style.remove();
}

/** Calls back now and whenever JupyterLab's theme changes. */
export function followTheme(told: (theme: Theme) => void): () => void {
  const tell = () => told(isDark(document.body) ? "dark" : "light");
  const observer = new MutationObserver(tell);
  observer.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light", "class"] });
  tell();
  return () => observer.disconnect();
}

/** The theme, as state of a component. */
export function useTheme(): Theme {
  const [theme, setTheme] = useState<Theme>(isDark(document.body) ? "dark" : "light");
  useEffect(() => followTheme(setTheme), []);
  return theme;
}

/** A trait that Python writes. */
export function useTrait<T>(model: Model, name: string): T {
  const [value, setValue] = useState(() => model.get(name) as T);
  useEffect(() => {
    const changed = () => setValue(() => model.get(name) as T);
    model.on(`change:${name}`, changed);
    changed();
    return () => model.off(`change:${name}`, changed);
  }, [model, name]);
  return value;
}

/** A trait that the view writes too. */
export function useSharedTrait<T>(model: Model, name: string): [T, (value: T) => void] {
  const value = useTrait<T>(model, name);
  const write = useCallback((next: T) => { model.set(name, next); model.save_changes(); }, [model, name]);
  return [value, write];
}

/** Asks Python's `do_<name>`; the answer comes back through traits. */
export function useAsk(model: Model) {
  return useMemo(
    () => (name: string, rest: Record<string, unknown> = {}, buffers: ArrayBuffer[] = []) =>
      model.send({ do: name, ...rest }, undefined, buffers),
    [model],
  );
}

/** Messages that Python sends with `self.send`. */
export function useMessages(model: Model, heard: (message: Record<string, unknown>, buffers: DataView[]) => void) {
  useEffect(() => {
    model.on("msg:custom", heard);
    return () => model.off("msg:custom", heard);
  }, [model, heard]);
}
