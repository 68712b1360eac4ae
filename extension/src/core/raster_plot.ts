// Draws one panel of a spike raster: cells from an image made once per view, then its frame, marks and token labels.
import type { SpikePicture, View } from "./spike_picture";

export type PlotStyle = { surface: string; line: string; text: string; muted: string; accent: string; font: string };
export type Marks = { token: number | null; row: number | null; pinned: number | null };

/** Where the cells of a panel lie in its canvas, in CSS pixels. */
export type PlotBox = { width: number; height: number; labels: number };

export const GUTTER = 7; // right of the cells: marks of salient features
export const CELLS_HEIGHT = 232;
const WIDEST_CELL = 30, LABEL_SIZE = 11;

/** Size of a panel that is given `room` CSS pixels of width; few tokens do not spread over all of it. */
export function plotBox(room: number, tokens: number, longest: number): PlotBox {
  const width = Math.max(60, Math.min(room - GUTTER, tokens * WIDEST_CELL));
  const flat = longest <= 1 || (width / tokens) >= longest * LABEL_SIZE * 0.62 + 3;
  const labels = flat ? LABEL_SIZE + 7 : Math.min(74, Math.ceil(longest * LABEL_SIZE * 0.62) + 8);
  return { width, height: CELLS_HEIGHT, labels };
}

/** How many cells the picture of a view has: one per token and feature, or as many as there are device pixels. */
export function resolution(view: View, box: PlotBox, ratio: number): { rows: number; columns: number } {
  return {
    rows: Math.min(view.features[1] - view.features[0], Math.round(box.height * ratio)),
    columns: Math.min(view.tokens[1] - view.tokens[0], Math.round(box.width * ratio)),
  };
}

/** RGBA of a pooled panel, `rows × columns`. */
export function cellPixels(levels: Int32Array, table: Uint32Array): Uint8ClampedArray<ArrayBuffer> {
  const pixels = new Uint32Array(levels.length);
  const middle = (table.length - 1) / 2;
  for (let index = 0; index < levels.length; index++) pixels[index] = table[middle + (levels[index] as number)] as number;
  return new Uint8ClampedArray(pixels.buffer);
}

/** The token and the row of the view under a place of the panel, or null outside the cells. */
export function cellAt(x: number, y: number, view: View, box: PlotBox): { token: number; row: number } | null {
  if (x < 0 || y < 0 || x >= box.width || y >= box.height) return null;
  const [first, last] = view.tokens, [top, bottom] = view.features;
  return { token: first + Math.floor((x / box.width) * (last - first)), row: top + Math.floor((y / box.height) * (bottom - top)) };
}

/** Everything but the cells: gaps that make dots of large cells, salient marks, the cursor, labels of the tokens. */
export function drawMarks(
  context: CanvasRenderingContext2D, picture: SpikePicture, order: Uint32Array, labels: string[],
  view: View, box: PlotBox, style: PlotStyle, marks: Marks,
): void {
  const tokens = view.tokens[1] - view.tokens[0], rows = view.features[1] - view.features[0];
  const wide = box.width / tokens, high = box.height / rows;
  context.fillStyle = style.surface;
  if (wide >= 5) for (let token = 1; token < tokens; token++) context.fillRect(Math.round(token * wide) - 0.5, 0, 1, box.height);
  if (high >= 5) for (let row = 1; row < rows; row++) context.fillRect(0, Math.round(row * high) - 0.5, box.width, 1);
  context.fillStyle = style.accent;
  context.globalAlpha = Math.min(1, Math.max(0.1, 1.5 * high)); // many features to a pixel: the more of them, the darker
  for (let row = 0; row < rows; row++) {
    if (picture.isSalient(order[view.features[0] + row] as number)) context.fillRect(box.width + 2, row * high, GUTTER - 3, Math.max(1, high - (high >= 3 ? 1 : 0)));
  }
  context.globalAlpha = 1;
  context.strokeStyle = style.line;
  context.lineWidth = 1;
  context.strokeRect(0.5, 0.5, box.width - 1, box.height - 1);
  column(context, marks.pinned, view, wide, box, style.accent, 2);
  column(context, marks.token, view, wide, box, style.text, 1);
  if (marks.row !== null && marks.row >= view.features[0] && marks.row < view.features[1]) {
    const y = (marks.row - view.features[0]) * high;
    context.strokeStyle = style.text;
    context.strokeRect(0.5, y - (high < 3 ? 1.5 : 0), box.width - 1, Math.max(3, high));
  }
  drawLabels(context, labels, view, wide, box, style, marks);
}

function column(context: CanvasRenderingContext2D, token: number | null, view: View, wide: number, box: PlotBox, colour: string, line: number): void {
  if (token === null || token < view.tokens[0] || token >= view.tokens[1]) return;
  context.strokeStyle = colour;
  context.lineWidth = line;
  context.strokeRect((token - view.tokens[0]) * wide, 0.5, Math.max(2, wide), box.height - 1);
  context.lineWidth = 1;
}

function drawLabels(
  context: CanvasRenderingContext2D, labels: string[], view: View, wide: number, box: PlotBox, style: PlotStyle, marks: Marks,
): void {
  const flat = box.labels <= LABEL_SIZE + 8;
  const every = Math.max(1, Math.ceil((flat ? LABEL_SIZE * 0.62 : LABEL_SIZE + 1) / wide));
  for (let token = view.tokens[0]; token < view.tokens[1]; token++) {
    const marked = token === marks.token || token === marks.pinned;
    if ((token - view.tokens[0]) % every && !marked) continue;
    context.font = `${marked ? "600 " : ""}${LABEL_SIZE}px ${style.font}`;
    context.fillStyle = token === marks.pinned ? style.accent : marked ? style.text : style.muted;
    const x = (token - view.tokens[0] + 0.5) * wide;
    context.save();
    context.translate(x, box.height + 5);
    if (!flat) context.rotate(-Math.PI / 2);
    context.textAlign = flat ? "center" : "right";
    context.textBaseline = flat ? "top" : "middle";
    context.fillText(shortened(labels[token] ?? "", 11), 0, 0);
    context.restore();
  }
}

function shortened(label: string, most: number): string {
  const letters = [...label];
  return letters.length > most ? `${letters.slice(0, most - 1).join("")}…` : label;
}
