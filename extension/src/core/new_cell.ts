// How a widget asks the page around it for a new cell, and what it does where nobody takes the wish.

export const INSERT_CELL = "darkit:insert-cell";

export type NewCellEvent = CustomEvent<{ text: string }>;

/** Asks for a cell; false where the page has nobody who makes one. */
export function askForCell(from: EventTarget, text: string): boolean {
  const event = new CustomEvent(INSERT_CELL, { bubbles: true, composed: true, cancelable: true, detail: { text } });
  return !from.dispatchEvent(event);
}
