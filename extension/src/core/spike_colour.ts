// Colours of spikes from ramps that Python names once, for both themes.

export type Ramps = { positive: string[]; negative: string[] };

/** Colours as 0xAABBGGRR of the levels −top … top; that of 0 is transparent, so silence is the page itself. */
export function colourTable(ramps: Ramps, top: number): Uint32Array {
  const table = new Uint32Array(2 * top + 1);
  for (let level = 1; level <= top; level++) {
    const share = shareOf(level, top);
    table[top + level] = packed(along(ramps.positive, share));
    table[top - level] = packed(along(ramps.negative, share));
  }
  return table;
}

/** Place of a level on its ramp; a spike that has one level only is neither weak nor strong, and well seen. */
function shareOf(level: number, top: number): number {
  return top === 1 ? 0.6 : (level - 1) / (top - 1);
}

/** Red, green and blue at a share from 0 to 1 of a ramp of #rrggbb colours. */
export function along(ramp: string[], share: number): [number, number, number] {
  const place = Math.min(1, Math.max(0, share)) * (ramp.length - 1);
  const index = Math.min(Math.floor(place), ramp.length - 2);
  const low = channels(ramp[index] as string), high = channels(ramp[index + 1] as string);
  return [0, 1, 2].map((i) => Math.round((low[i] as number) + ((high[i] as number) - (low[i] as number)) * (place - index))) as [number, number, number];
}

/** CSS colour of a level. */
export function cssColour(ramps: Ramps, level: number, top: number): string {
  if (level === 0) return "transparent";
  const ramp = level < 0 ? ramps.negative : ramps.positive;
  return `rgb(${along(ramp, shareOf(Math.abs(level), top)).join(" ")})`;
}

function channels(colour: string): number[] {
  return [1, 3, 5].map((start) => parseInt(colour.slice(start, start + 2), 16));
}

function packed([red, green, blue]: [number, number, number]): number {
  return (0xff000000 | (blue << 16) | (green << 8) | red) >>> 0;
}
