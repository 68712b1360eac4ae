import assert from "node:assert/strict";
import { test } from "node:test";
import { type Draw, drawn, forPlotly, reaching, zoomOf } from "../src/core/figure";

const LAYOUT = { height: 300, xaxis: { domain: [0, 1], autorange: true }, xaxis2: { matches: "x" }, yaxis: {} };

/** A message of `numbers`, laid one byte off where numbers must lie, as they do in a message of the kernel. */
function told(number: number, parts: Partial<Draw>, numbers: Float32Array[] = []): [Draw, DataView[]] {
  const views = numbers.map((each) => {
    const bytes = new Uint8Array(each.byteLength + 1);
    bytes.set(new Uint8Array(each.buffer), 1);
    return new DataView(bytes.buffer, 1);
  });
  return [{ number, whole: false, arrays: [], ...parts }, views];
}

function begun() {
  const numbers = [Float32Array.of(1, 2), Float32Array.of(5, 6), Float32Array.of(1, 2, 3, 4, 5, 6)];
  const x = { buffer: 0, dtype: "float32", shape: [2] };
  const y = { buffer: 1, dtype: "float32", shape: [2] };
  const z = { buffer: 2, dtype: "float32", shape: [2, 3] };
  const parts = { whole: true, traces: [{ type: "scatter" }, { type: "heatmap" }], layout: LAYOUT };
  const figure = drawn(null, ...told(7, { ...parts, arrays: [[0, { x, y }], [1, { y: ["a", "b"], z }]] }, numbers));
  assert(figure);
  return figure;
}

test("a figure is told whole, then in parts", () => {
  const figure = begun();
  assert.deepEqual(figure.arrays[0], { x: Float32Array.of(1, 2), y: Float32Array.of(5, 6) });
  assert.deepEqual(figure.arrays[1]?.["z"], [Float32Array.of(1, 2, 3), Float32Array.of(4, 5, 6)]);
  const y = { buffer: 0, dtype: "float32", shape: [3] };
  const next = drawn(figure, ...told(8, { arrays: [[0, { y }]] }, [Float32Array.of(7, 8, 9)]));
  assert.deepEqual(next?.arrays[0], { x: Float32Array.of(1, 2), y: Float32Array.of(7, 8, 9) });
  assert.equal(next?.arrays[1], figure.arrays[1]);
});

test("a message that was missed is noticed, and the whole puts it right", () => {
  assert.equal(drawn(null, ...told(3, {})), null);
  assert.equal(drawn(begun(), ...told(9, {})), null);
  assert.equal(drawn(begun(), ...told(12, { whole: true, traces: [], layout: {} }))?.number, 12);
});

test("other limits go to every axis of steps and to no other", () => {
  const zoomed = reaching(LAYOUT, { autorange: false, range: [3, 9] });
  assert.deepEqual(zoomed["xaxis"], { domain: [0, 1], autorange: false, range: [3, 9] });
  assert.deepEqual(zoomed["xaxis2"], { matches: "x", autorange: false, range: [3, 9] });
  assert.equal(zoomed["yaxis"], LAYOUT.yaxis);
  assert.deepEqual(reaching(zoomed, { autorange: true })["xaxis"], LAYOUT.xaxis);
});

test("Plotly may write into what it gets", () => {
  const figure = begun();
  const { data, layout } = forPlotly(figure);
  (layout["xaxis"] as Record<string, unknown>)["range"] = [0, 1];
  data[0]!["uid"] = "x";
  assert.deepEqual(figure.layout, LAYOUT);
  assert.deepEqual(figure.traces[0], { type: "scatter" });
});

test("a zoom is told by whichever axis was dragged over", () => {
  assert.deepEqual(zoomOf({ "xaxis3.range[0]": 2.5, "xaxis3.range[1]": 8 }), [2.5, 8]);
  assert.deepEqual(zoomOf({ "xaxis.range": [1, 4] }), [1, 4]);
  assert.equal(zoomOf({ "xaxis.autorange": true }), "all");
  assert.equal(zoomOf({ width: 300 }), null);
});
