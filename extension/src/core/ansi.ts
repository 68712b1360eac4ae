// Colours of a terminal as spans; whatever else a terminal would do is left out.

export type Style = { colour?: string; bold?: boolean; dim?: boolean; italic?: boolean; underline?: boolean };
export type Span = { text: string; style: Style };

const CONTROL = /\x1b\[([0-9;:?]*)([@-~])|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[@-Z\\^_]|[\x00-\x08\x0b-\x1f\x7f]/g;
const FLAGS: Record<number, keyof Style> = { 1: "bold", 2: "dim", 3: "italic", 4: "underline" };

/** Without any control sequence. */
export function plain(line: string): string {
  return line.replace(CONTROL, "");
}

/** The spans of one line. `style` is what the line before ended with; the second value is what this one ends with. */
export function spans(line: string, style: Style = {}): [Span[], Style] {
  if (!line.includes("\x1b")) return [line ? [{ text: plain(line), style }] : [], style];
  const found: Span[] = [];
  let from = 0;
  const add = (text: string) => { if (text) found.push({ text, style }); };
  for (const match of line.matchAll(CONTROL)) {
    add(line.slice(from, match.index));
    from = match.index + match[0].length;
    if (match[2] === "m") style = restyled(style, match[1] ?? "");
  }
  add(line.slice(from));
  return [found, style];
}

function restyled(before: Style, codes: string): Style {
  const numbers = codes.split(/[;:]/).map(Number);
  let style = { ...before };
  for (let at = 0; at < numbers.length; at++) {
    const code = numbers[at] as number;
    const flag = FLAGS[code];
    if (code === 0) style = {};
    else if (flag) style = { ...style, [flag]: true };
    else if (code === 22) style = { ...style, bold: undefined, dim: undefined };
    else if (code === 23) style.italic = undefined;
    else if (code === 24) style.underline = undefined;
    else if (code >= 30 && code <= 37) style.colour = String(code - 30);
    else if (code >= 90 && code <= 97) style.colour = String(code - 82);
    else if (code === 39) style.colour = undefined;
    else if (code === 38 || code === 48) {
      const [colour, used] = extended(numbers.slice(at + 1));
      if (code === 38) style.colour = colour;
      at += used;
    }
  }
  return style;
}

/** `5;n` or `2;r;g;b`: the colour, and how many numbers it took. */
function extended(numbers: number[]): [string | undefined, number] {
  const [kind, first = 0, second = 0, third = 0] = numbers;
  if (kind === 2) return [`rgb(${clamp(first)} ${clamp(second)} ${clamp(third)})`, 4];
  if (kind !== 5) return [undefined, 0];
  if (first < 16) return [String(clamp(first)), 2];
  if (first >= 232) return [grey(8 + 10 * (first - 232)), 2];
  const level = (value: number) => (value ? 55 + 40 * value : 0);
  const cube = first - 16;
  return [`rgb(${level(Math.floor(cube / 36))} ${level(Math.floor(cube / 6) % 6)} ${level(cube % 6)})`, 2];
}

const clamp = (value: number) => Math.min(255, Math.max(0, Math.round(value) || 0));
const grey = (value: number) => `rgb(${clamp(value)} ${clamp(value)} ${clamp(value)})`;
