// Which way something opens from its anchor, so that it stays inside the widget.

/** On focus: marks an anchor near the right edge, from which lists and help open to the left. */
export function openInside(event: Event): void {
  const anchor = event.currentTarget as HTMLElement;
  const room = anchor.closest(".dk")?.getBoundingClientRect().right ?? window.innerWidth;
  const left = anchor.getBoundingClientRect().left;
  const needed = anchor.querySelector("[role=combobox]") ? 430 : 310;
  anchor.dataset.side = left + Math.min(needed, room) > room ? "left" : "right";
}
