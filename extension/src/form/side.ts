// Which way something opens from its anchor, so that it stays inside the widget.
import { opensTo } from "../core/config_form";

/** On focus: marks the side to which lists and help open; their widths are those of the style sheet. */
export function openInside(event: Event): void {
  const anchor = event.currentTarget as HTMLElement;
  const widget = anchor.closest(".dk")?.getBoundingClientRect();
  if (!widget) return;
  const box = anchor.getBoundingClientRect();
  const wanted = anchor.querySelector("[role=combobox]") ? Math.min(420, 0.86 * widget.width) : Math.min(300, 0.8 * widget.width);
  anchor.dataset.side = opensTo(box.left, Math.max(box.width, wanted), widget.right);
}
