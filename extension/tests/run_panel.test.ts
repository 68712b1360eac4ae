import assert from "node:assert/strict";
import { test } from "node:test";
import { plain, spans } from "../src/core/ansi";
import { energy, whole } from "../src/core/format";
import { asText, KEPT, LogLines, matches, redrawn } from "../src/core/log_lines";
import { button, share } from "../src/core/run_actions";

test("colours become spans and carry over to the next line", () => {
  const [first, after] = spans("plain \x1b[1;31mred\x1b[0m \x1b[38;5;208morange \x1b[4m");
  assert.deepEqual(first.map((span) => [span.text, span.style.colour, span.style.bold]), [
    ["plain ", undefined, undefined],
    ["red", "1", true],
    [" ", undefined, undefined],
    ["orange ", "rgb(255 135 0)", undefined],
  ]);
  const [second] = spans("under\x1b[24;39mneath", after);
  assert.deepEqual(second, [
    { text: "under", style: { colour: "rgb(255 135 0)", underline: true } },
    { text: "neath", style: { underline: undefined, colour: undefined } },
  ]);
});

test("backgrounds, cursor moves, titles and broken sequences leave only text", () => {
  assert.equal(plain("\x1b[2K\x1b[1A\x1b]0;title\x07a\x1b[48;2;1;2;3mb\x07\x1b[m"), "ab");
  assert.deepEqual(spans("\x1b[48;2;1;31;3mb")[0], [{ text: "b", style: {} }]);
  assert.deepEqual(spans("\x1b[97mb\x1b[38;2;300;0;0m!")[0].map((span) => span.style.colour), ["15", "rgb(255 0 0)"]);
  assert.deepEqual(spans(""), [[], {}]);
});

test("a redrawn line is what was drawn last", () => {
  assert.equal(redrawn(" 1%\r 50%\r100%"), "100%");
  assert.equal(redrawn("windows\r"), "windows");
  assert.equal(redrawn("x".repeat(5000)).length, 2000);
});

test("only the end of a log is kept, with its numbers, and a burst does not grow it", () => {
  const log = new LogLines();
  log.replace({ before: 10, text: "a\nb\n", skipped: 0 });
  assert.deepEqual(log.lines, [{ number: 10, text: "a" }, { number: 11, text: "b" }]);
  assert.equal(log.append({ before: 12, text: Array.from({ length: 10_000 }, (_, n) => `line ${n}\n`).join(""), skipped: 5_000_000 }), true);
  assert.equal(log.lines.length, KEPT);
  assert.deepEqual(log.lines.at(-1), { number: 10_011, text: "line 9999" });
  assert.equal(log.skipped, 5_000_000);
});

test("a batch that came before is passed over, one that leaves a gap is refused", () => {
  const log = new LogLines();
  log.replace({ before: 0, text: "a\n", skipped: 0 });
  assert.equal(log.append({ before: 0, text: "a\n", skipped: 0 }), true);
  assert.equal(log.lines.length, 1);
  assert.equal(log.append({ before: 3, text: "d\n", skipped: 0 }), false);
  assert.equal(log.append({ before: 1, text: "b\n", skipped: 7 }), true);
  assert.equal(asText(log.lines), "a\n… 7 bytes left out …\nb");
});

test("matches are found without regard to case and never overlap", () => {
  assert.deepEqual(matches("Loss loss LOSS", "loss"), [[0, 4], [5, 9], [10, 14]]);
  assert.deepEqual(matches("aaaa", "aa"), [[0, 2], [2, 4]]);
  assert.deepEqual(matches("text", ""), []);
  assert.deepEqual(matches("a.b", "."), [[1, 2]]);
});

test("each button is enabled only when it makes sense", () => {
  const enabled = (state: string, more = {}) =>
    (["stop", "resume", "checkpoint", "clone", "end_orphan"] as const).filter((action) => button(action, { state, ...more }, {}).enabled);
  assert.deepEqual(enabled("running"), ["stop", "checkpoint", "clone"]);
  assert.deepEqual(enabled("starting"), ["stop", "clone"]);
  assert.deepEqual(enabled("queued"), ["stop", "clone"]);
  assert.deepEqual(enabled("finished"), ["clone"]);
  assert.deepEqual(enabled("stopped"), ["resume", "clone"]);
  assert.deepEqual(enabled("failed"), ["resume", "clone"]);
  assert.deepEqual(enabled("lost", { orphan_pid: 12 }), ["resume", "clone", "end_orphan"]);
  assert.deepEqual(enabled("running", { missing: true }), []);
  assert.equal(button("stop", { state: "queued" }, {}).label, "Leave the queue");
  assert.equal(button("stop", null, {}).enabled, false);
});

test("an action that is under way says so and cannot be asked for twice", () => {
  assert.deepEqual(button("stop", { state: "running" }, { stop: 0.2 }).label, "stopping…");
  assert.equal(button("stop", { state: "running" }, { stop: 0.2 }).enabled, false);
  assert.equal(button("stop", { state: "running" }, { stop: 12 }).label, "stopping… 12 s");
  assert.equal(button("checkpoint", { state: "running" }, { stop: 1 }).enabled, false);
  assert.equal(button("resume", { state: "lost", orphan_pid: 12 }, { end_orphan: 1 }).enabled, false);
});

test("progress is a share or unknown", () => {
  assert.equal(share({ step: 5, total_steps: 10 }), 0.5);
  assert.equal(share({ step: 15, total_steps: 10 }), 1);
  assert.equal(share({ step: null, total_steps: 10 }), null);
  assert.equal(share({ step: 3, total_steps: 0 }), null);
});

test("energies and whole numbers", () => {
  assert.equal(energy(12_345_678), "12.3 µJ");
  assert.equal(energy(0.5), "0.500 pJ");
  assert.equal(energy(3.2e9), "3.20 mJ");
  assert.equal(energy(null), "–");
  assert.equal(whole(1234567), "1\u202f234\u202f567");
  assert.equal(whole(null), "–");
});
