import assert from "node:assert/strict";
import { test } from "node:test";
import { aimed, cellOf, changed, countBack, diagnosticsOf, type EditProblem, type Past, said, type Source, title } from "../src/core/code_edit";

const text = "class A(nn.Module):\n    def forward(self, x):\n        return y\n";
const doc = {
  lines: text.split("\n").length,
  line(number: number) {
    const lines = text.split("\n");
    const from = lines.slice(0, number - 1).reduce((sum, line) => sum + line.length + 1, 0);
    const found = lines[number - 1] as string;
    return { from, to: from + found.length, text: found };
  },
};
const problem = (line: number | null, more: Partial<EditProblem> = {}): EditProblem => ({ check: "names", message: "y is not known.", line, ...more });
const source: Source = {
  path: "model.layers.1.mlp", class_name: "LlamaMLP", module: "m", file: "f.py", line: 3, text, original: text, hash: "0", same_class: 4,
  layers: { first: 0, last: 3, pattern: "model.layers.*.mlp" }, reason: "", magic: "model.model.layers[1].mlp",
};
const past = (number: number, more: Partial<Past> = {}): Past =>
  ({ number, id: "a", kind: "code", class_name: "LlamaMLP", targets: ["a.0", "a.1"], note: "", diff: "", time: 0, step: null, reverted: false, label: "LlamaMLP in 2 modules", problem: null, ...more });

test("a problem marks the words of its line, and none beyond the text", () => {
  const [found, last] = diagnosticsOf([problem(99), problem(3), problem(null)], doc);
  assert.equal(text.slice(found?.from, found?.to), "return y");
  const [word] = diagnosticsOf([problem(3, { received: "y" })], doc);
  assert.equal(text.slice(word?.from, word?.to), "y");
  assert.deepEqual([last?.from, last?.to], [text.length, text.length]);
  assert.equal(said(problem(3, { expected: "x", fix: "write x" })), "y is not known.\nexpected: x\nwhat to do: write x");
});

test("lines gained and lost are counted as diff counts them", () => {
  assert.deepEqual(changed(text, text), { added: 0, removed: 0 });
  assert.deepEqual(changed(text, text.replace("return y", "return x")), { added: 1, removed: 1 });
  assert.deepEqual(changed("a\nb\nc\nd", "a\nx\nc\ny\nd"), { added: 2, removed: 1 });
  assert.deepEqual(changed("", "a"), { added: 1, removed: 1 });
});

test("what an edit is for is said in words and in the magic's", () => {
  assert.equal(aimed({ mode: "this", layers: "" }, source), "1 module");
  assert.equal(aimed({ mode: "class", layers: "" }, source), "4 modules");
  assert.equal(aimed({ mode: "layers", layers: "1:3" }, source), "2 modules");
  assert.equal(aimed({ mode: "layers", layers: "2:" }, source), "2 modules");
  assert.equal(aimed({ mode: "layers", layers: "3:9" }, source), "1 module");
  assert.equal(aimed({ mode: "layers", layers: "4:" }, source), null);
  assert.equal(aimed({ mode: "layers", layers: "a" }, source), null);
  assert.equal(cellOf(source, { mode: "layers", layers: "0:2" }, "x"), "%%darkit patch model.model.layers[1].mlp --layers 0:2\nx");
});

test("going back counts what is still applied", () => {
  const history = [past(1), past(2, { reverted: true }), past(3), past(4, { note: "a gate" })];
  assert.equal(countBack(history, 1), 3);
  assert.equal(countBack(history, 3), 2);
  assert.equal(title(history[0] as Past), "LlamaMLP in 2 modules");
  assert.equal(title(history[3] as Past), "a gate");
});
