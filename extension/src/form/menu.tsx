// A button that opens a list of choices, each with a sentence about it.
import { useEffect, useRef, useState } from "preact/hooks";
import { moveTo } from "../core/config_form";

export type MenuItem = { name: string; title: string; about: string; heading: string };

export function Menu({ label, items, onChoose }: { label: string; items: readonly MenuItem[]; onChoose: (name: string) => void }) {
  const [open, setOpen] = useState(false);
  const root = useRef<HTMLDivElement>(null);
  const button = useRef<HTMLButtonElement>(null);
  const entries = () => [...(root.current?.querySelectorAll<HTMLButtonElement>("[role=menuitem]") ?? [])];

  useEffect(() => {
    if (!open) return;
    entries()[0]?.focus();
    const outside = (event: Event) => { if (!root.current?.contains(event.target as Node)) setOpen(false); };
    document.addEventListener("pointerdown", outside);
    return () => document.removeEventListener("pointerdown", outside);
  }, [open]);

  const close = () => { setOpen(false); button.current?.focus(); };
  const key = (event: KeyboardEvent) => {
    if (event.key === "Escape" && open) { event.stopPropagation(); close(); }
    if (event.key === "Tab") setOpen(false);
    if (!["ArrowDown", "ArrowUp", "Home", "End"].includes(event.key)) return;
    event.preventDefault();
    event.stopPropagation();
    if (!open) { setOpen(true); return; }
    const all = entries();
    all[moveTo(all.indexOf(document.activeElement as HTMLButtonElement), all.length, event.key)]?.focus();
  };

  return (
    <div class="dk-menu" ref={root} onKeyDown={key}>
      <button type="button" class="dk-button" ref={button} aria-haspopup="menu" aria-expanded={open} onClick={() => setOpen(!open)}>
        {label} <span aria-hidden="true">▾</span>
      </button>
      {open && (
        <div class="dk-menu-list" role="menu" aria-label={label}>
          {items.map((item, index) => [
            item.heading !== items[index - 1]?.heading && <div class="dk-menu-heading" key={item.heading}>{item.heading}</div>,
            <button
              type="button"
              role="menuitem"
              key={item.name}
              tabIndex={-1}
              onClick={() => { onChoose(item.name); close(); }}
            >
              <span>{item.title}</span>
              <span class="dk-muted">{item.about}</span>
            </button>,
          ])}
        </div>
      )}
    </div>
  );
}
