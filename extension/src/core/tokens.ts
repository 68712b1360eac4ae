// Tokens as chips: what a person sees of white space, and which of a few colours a token has.

export const HUES = 8;

/** Line ends and tabs as signs; the line end keeps its break, so that text is laid out as it was written. */
export function visible(text: string): string {
  return text.replace(/\r/g, "␍").replace(/\t/g, "⇥").replace(/\n/g, "⏎\n");
}

/** The colour of a token, the same for the same id. */
export function hueOf(id: number): number {
  return Math.floor((360 * (id % HUES)) / HUES);
}
