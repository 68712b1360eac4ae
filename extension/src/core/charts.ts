// The pure rules of the bar above the charts.

/** Steps a smoothed value may look back over; 1 is no smoothing. */
export const SPANS: readonly number[] = [1, 3, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000];

/** Place of the span that is nearest, by ratio, to any number of steps. */
export function nearestSpan(span: number): number {
  const distance = (each: number) => Math.abs(Math.log(each / Math.max(1, span)));
  return SPANS.reduce((best, each, place) => (distance(each) < distance(SPANS[best] as number) ? place : best), 0);
}

/** The span in words. */
export function spanText(span: number): string {
  return span <= 1 ? "off" : `${span} steps`;
}

/** Pixels of an image of a drawing: twice its size, and never more than canvases can have. */
export function rasterSize(width: number, height: number, most = 8192): [number, number] {
  const scale = Math.min(2, most / Math.max(1, width), most / Math.max(1, height));
  return [Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale))];
}
