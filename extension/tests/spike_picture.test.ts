import assert from "node:assert/strict";
import { test } from "node:test";
import { cellAt, cellPixels, plotBox, resolution } from "../src/core/raster_plot";
import { colourTable, cssColour } from "../src/core/spike_colour";
import { fromHalf, moved, type PictureTrait, showing, SpikePicture, type View, zoomed } from "../src/core/spike_picture";

const view = (array: ArrayLike<number> & { buffer?: ArrayBufferLike }) => {
  // Bytes in the middle of a message, at an odd place, as they come over the wire.
  const bytes = new Uint8Array(array.buffer as ArrayBuffer);
  const message = new Uint8Array(bytes.length + 5);
  message.set(bytes, 3);
  return new DataView(message.buffer, 3, bytes.length);
};

function picture(counts: number[][], changes: Partial<PictureTrait> = {}): SpikePicture {
  const tokens = counts.length, features = (counts[0] as number[]).length;
  const salient = Uint8Array.from({ length: features }, (_, feature) => (feature % 2 ? 0 : 1));
  return new SpikePicture({
    name: "up_proj", tokens, features, heads: 1, steps: 2, levels: 16, cap: 30, coding: "rate", signed: false, rate: 0.5, dtype: "uint8",
    counts: view(Uint8Array.from(counts.flat())),
    membrane: view(new Uint16Array(tokens * features).fill(0x3c00)), // 1
    scale: view(Float32Array.from({ length: 2 * tokens }, (_, index) => (index % 2 ? 0.25 : 0.5))),
    zero: view(new Int32Array(2 * tokens).fill(3)),
    salient: view(salient),
    ...changes,
  });
}

test("levels of the steps are those of SpikeCode.planes", () => {
  const rate = picture([[0, 1, 15, 16, 29, 30]]);
  const steps = (own: SpikePicture, count: number) => [0, 1].map((step) => own.level(count, step));
  assert.deepEqual([0, 1, 15, 16, 29, 30].map((count) => steps(rate, count)), [[0, 0], [1, 0], [15, 0], [15, 1], [15, 14], [15, 15]]);
  const radix = picture([[0]], { coding: "radix", levels: 4, cap: 15 });
  assert.deepEqual([0, 1, 3, 4, 7, 15].map((count) => steps(radix, count)), [[0, 0], [0, 1], [0, 3], [1, 0], [1, 3], [3, 3]]);
  const signed = picture([[0]], { signed: true, levels: 2, cap: 2, dtype: "int8" });
  assert.deepEqual([-2, -1, 1, 2].map((count) => steps(signed, count)), [[-1, -1], [-1, 0], [1, 0], [1, 1]]);
  assert.deepEqual([rate.panels, rate.top(-1), rate.top(0)], [[-1, 0, 1], 30, 15]);
  assert.deepEqual(picture([[0]], { steps: 1, cap: 15 }).panels, [-1]);
});

test("the membrane is read in units of the threshold of its group and head", () => {
  const own = picture([[5, 5]]);
  assert.deepEqual([own.charge(0, 0), own.charge(0, 1)], [1 / 0.25 + 3, 1 / 0.5 + 3]);
  const heads = picture([[1, 1, 1, 1]], {
    heads: 2, steps: 1, salient: view(new Uint8Array(0)), scale: view(Float32Array.of(1, 2)), zero: view(Int32Array.of(0, 10)),
  });
  assert.deepEqual([0, 1, 2, 3].map((feature) => heads.charge(0, feature)), [1, 1, 10.5, 10.5]);
});

test("half-precision numbers", () => {
  const known: [number, number][] = [[0x3c00, 1], [0xc000, -2], [0x7bff, 65504], [0x0001, 2 ** -24], [0x8000, -0], [0x3555, 0.333251953125], [0x7c00, Infinity]];
  for (const [bits, value] of known) assert.equal(fromHalf(bits), value);
});

test("a shrunken picture keeps its strongest spikes, also negative ones", () => {
  const counts = [Array.from({ length: 100 }, (_, feature) => (feature === 57 ? 9 : 0)), Array.from({ length: 100 }, () => 1)];
  const own = picture(counts);
  const whole: View = { tokens: [0, 2], features: [0, 100] };
  const small = own.pool(-1, own.order(false), whole, 10, 2);
  assert.deepEqual([...small].filter((_, index) => index % 2 === 0), [0, 0, 0, 0, 0, 9, 0, 0, 0, 0]);
  assert.deepEqual([...own.pool(-1, own.order(false), whole, 1, 1)], [9]);
  assert.deepEqual([...own.pool(-1, own.order(false), { tokens: [1, 2], features: [0, 3] }, 3, 1)], [1, 1, 1]);
  const signed = picture([[3, -5, 1]], { signed: true, dtype: "int8", counts: view(Int8Array.of(3, -5, 1)) });
  assert.deepEqual([...signed.pool(-1, signed.order(false), { tokens: [0, 1], features: [0, 3] }, 1, 1)], [-5]);
});

test("salient features can come first", () => {
  assert.deepEqual([...picture([[1, 2, 3, 4, 5]]).order(true)], [0, 2, 4, 1, 3]);
  assert.deepEqual([...picture([[1, 2, 3]]).order(false)], [0, 1, 2]);
});

test("what a token sent", () => {
  const own = picture([[0, 3, 20, 0], [1, 1, 1, 1]]);
  assert.deepEqual(own.summary(0), { spikes: 23, silent: 2, rate: 3 / 6 });
  const { first, width, shares } = own.histogram(0);
  assert.deepEqual([first, width, shares.length, shares[0], shares[3], shares[20]], [0, 1, 31, 0.5, 0.25, 0.25]);
  const wide = picture([[0]], { levels: 256, cap: 4095, dtype: "int16", counts: view(Int16Array.of(4095)) }).histogram(null);
  assert.deepEqual([wide.width, wide.shares.length, wide.shares[63]], [64, 64, 1]);
});

test("zooming and moving stay inside the picture", () => {
  const whole: View = { tokens: [0, 40], features: [0, 4096] };
  const least = { tokens: 8, features: 16 };
  let now = zoomed(whole, 2, { x: 0.5, y: 1 }, whole, least);
  assert.deepEqual(now, { tokens: [10, 30], features: [2048, 4096] });
  for (let time = 0; time < 30; time++) now = zoomed(now, 2, { x: 1, y: 0 }, whole, least);
  assert.deepEqual([now.tokens[1] - now.tokens[0], now.features[1] - now.features[0]], [8, 16]);
  assert.deepEqual(moved(now, -1000, 1e6, whole), { tokens: [0, 8], features: [4080, 4096] });
  assert.deepEqual(showing({ tokens: [0, 8], features: [0, 16] }, 12, 3, whole), { tokens: [5, 13], features: [0, 16] });
  for (let time = 0; time < 30; time++) now = zoomed(now, 0.5, { x: 0.3, y: 0.9 }, whole, least);
  assert.deepEqual(now, whole);
  const tiny: View = { tokens: [0, 3], features: [0, 5] };
  assert.deepEqual(zoomed(tiny, 4, { x: 0, y: 0 }, tiny, least), tiny);
});

test("colours: silence is transparent, more spikes are another lightness, minus is another hue", () => {
  const ramps = { positive: ["#ffffff", "#000000"], negative: ["#0000ff", "#000080"] };
  const table = colourTable(ramps, 3);
  assert.deepEqual([...table].map((colour) => colour.toString(16)), ["ff800000", "ffc00000", "ffff0000", "0", "ffffffff", "ff808080", "ff000000"]);
  assert.equal(cssColour(ramps, 0, 3), "transparent");
  assert.equal(cssColour(ramps, -1, 1), "rgb(0 0 179)");
  assert.deepEqual([...cellPixels(Int32Array.of(0, 3), table)], [0, 0, 0, 0, 0, 0, 0, 255]);
});

test("the plot fits its room, and a place in it is a cell", () => {
  assert.deepEqual(plotBox(1000, 4, 1), { width: 120, height: 232, labels: 18 });
  assert.equal(plotBox(300, 500, 1).width, 293);
  assert.ok(plotBox(300, 40, 8).labels > 40); // long tokens stand upright
  const box = { width: 100, height: 200, labels: 18 };
  const part: View = { tokens: [10, 20], features: [100, 140] };
  assert.deepEqual(cellAt(99, 199, part, box), { token: 19, row: 139 });
  assert.deepEqual(cellAt(0, 0, part, box), { token: 10, row: 100 });
  assert.equal(cellAt(100, 0, part, box), null);
  assert.deepEqual(resolution({ tokens: [0, 512], features: [0, 4096] }, box, 2), { rows: 400, columns: 200 });
});

test("4096 features of 512 tokens are shrunk in a moment", () => {
  const features = 4096, tokens = 512;
  const own = picture([[0]], { features, tokens, counts: view(new Uint8Array(features * tokens).fill(7)), salient: view(new Uint8Array(features)) });
  const started = performance.now();
  own.pool(0, own.order(false), { tokens: [0, tokens], features: [0, features] }, 464, 512);
  assert.ok(performance.now() - started < 400, `${performance.now() - started} ms`);
});
