import assert from "node:assert/strict";
import { test } from "node:test";
import {
  Edits,
  fitting,
  type FormField,
  type FormState,
  freshId,
  type Group,
  hint,
  kindOfFile,
  type Layout,
  moveTo,
  nextPiece,
  opensTo,
  orderedErrors,
  PIECE_BYTES,
  PIECES_AHEAD,
  search,
  tally,
} from "../src/core/config_form";

const field = (key: string, rest: Partial<FormField> = {}): FormField => ({
  key,
  label: key.split(".").pop() ?? "",
  kind: "integer",
  about: "",
  expected: "an integer",
  range: "",
  default: "1",
  nullable: false,
  choices: [],
  options: [],
  ...rest,
});
const group = (section: string, title: string, first: FormField[], more: FormField[] = []): Group => ({
  section,
  title,
  about: "",
  switch: null,
  collapsed: false,
  first,
  more,
});
const layout: Layout = {
  groups: [
    group("train", "Training", [field("train.steps", { about: "Optimizer steps." })], [field("train.clip_norm", { about: "Largest gradient norm" })]),
    group("spike", "Spikes", [field("spike.num_steps", { about: "Spike steps S" })]),
    group("", "Run", [field("name")]),
  ],
  starting_points: [],
  failures: [],
};
const state = (rest: Partial<FormState> = {}): FormState => ({
  texts: { "train.steps": "1000" },
  off: [],
  changed: [],
  errors: {},
  recipes: [],
  note: { facts: [], fits: true, fix: null },
  undo: null,
  seen: {},
  ...rest,
});
const keys = (query: string) => search(layout, query).flatMap(({ fields }) => fields.map((found) => found.key));

test("a search reads keys, labels and descriptions, and finds what is under more", () => {
  assert.deepEqual(keys("steps"), ["train.steps", "spike.num_steps"]);
  assert.deepEqual(keys("GRADIENT norm"), ["train.clip_norm"]);
  assert.deepEqual(keys("train.st"), ["train.steps"]);
  assert.deepEqual(keys("training"), ["train.steps", "train.clip_norm"]);
  assert.deepEqual(keys("nothing of it"), []);
  assert.deepEqual(keys("  "), []);
});

test("the line under a field names the default once it was left, and limits", () => {
  const steps = field("train.steps", { range: "≥ 1", default: "1000" });
  assert.equal(hint(steps, false, "2"), "≥ 1");
  assert.equal(hint(steps, true, "2"), "default 1000 · ≥ 1");
  assert.equal(hint(field("name", { default: "" }), true, "x"), "default null");
  const preset = field("model.preset", { options: [{ value: "nano", label: "nano", about: "Small." }, { value: "", label: "org/name", about: "Hub." }] });
  assert.equal(hint(preset, true, "nano"), "Small.");
  assert.equal(hint(preset, false, ""), "");
  assert.equal(hint(field("x", { kind: "true/false" }), true, "true"), "");
});

test("a group counts its own; a section switched off counts as one change", () => {
  const [train, spike] = layout.groups as [Group, Group];
  const error = { brief: "no", message: "no" };
  assert.deepEqual(tally(train, state({ changed: ["train.steps", "name"], errors: { "train.clip_norm": error } })), { changed: 1, errors: 1 });
  assert.deepEqual(tally(spike, state({ off: ["spike"], changed: ["spike", "spike.num_steps"] })), { changed: 1, errors: 0 });
});

test("errors come in the order of the page, those of no field last", () => {
  const error = { brief: "no", message: "no" };
  const found = orderedErrors(layout, state({ errors: { "": error, name: error, spike: error, "train.steps": error } }));
  assert.deepEqual(found.map(({ key }) => key), ["train.steps", "name", "", "spike"]);
  assert.deepEqual(found.map(({ label }) => label), ["Training: steps", "Run: name", "Configuration", "spike"]);
});

test("what was typed stays until the kernel has answered that very edit", () => {
  const edits = new Edits();
  edits.write({ key: "train.steps", text: "2" });
  assert.deepEqual(edits.take(), { edits: [{ key: "train.steps", text: "2" }], number: 1 });
  edits.write({ key: "train.steps", text: "20" });
  edits.settle(1); // the answer to "2" arrives while "20" is on the screen
  assert.equal(edits.text("train.steps", state({ texts: { "train.steps": "2" } })), "20");
  assert.deepEqual(edits.take(), { edits: [{ key: "train.steps", text: "20" }], number: 2 });
  assert.equal(edits.take(), null);
  edits.settle(2);
  assert.equal(edits.text("train.steps", state({ texts: { "train.steps": "30" } })), "30");
  assert.equal(edits.text("unknown", state()), "");
});

test("only the last edit of a field is sent; boxes and switches too", () => {
  const edits = new Edits();
  edits.write({ key: "train.steps", text: "2" });
  edits.write({ key: "spike", on: false });
  edits.write({ key: "train.steps", text: "21" });
  assert.equal(edits.isOff("spike", state()), true);
  assert.equal(edits.text("spike", state()), "false");
  assert.deepEqual(edits.take(), { edits: [{ key: "train.steps", text: "21" }, { key: "spike", on: false }], number: 3 });
  edits.settle(3);
  assert.equal(edits.isOff("spike", state()), false);
  assert.equal(edits.isOff("spike", state({ off: ["spike"] })), true);
});

test("files are known by their names", () => {
  assert.equal(kindOfFile("My Run.YAML"), "yaml");
  assert.equal(kindOfFile("model.tar.gz"), "archive");
  assert.equal(kindOfFile("model.zip"), "archive");
  assert.equal(kindOfFile("model.gz"), null);
  assert.equal(kindOfFile("zip"), null);
});

test("pieces cover a file once and never run far ahead", () => {
  const size = 10 * PIECE_BYTES + 5;
  let sent = 0;
  let received = 0;
  let most = 0;
  const covered: number[] = [];
  while (received < size) {
    const piece = nextPiece(sent, received, size);
    if (piece) {
      assert.equal(piece[0], sent);
      assert.ok(piece[1] - piece[0] <= 2 ** 20);
      sent = piece[1];
      covered.push(piece[1] - piece[0]);
    } else received += covered.shift() ?? 0;
    most = Math.max(most, sent - received);
  }
  assert.equal(sent, size);
  assert.ok(most <= PIECES_AHEAD * PIECE_BYTES);
  assert.equal(nextPiece(0, 0, 0), null);
});

test("suggestions fit what is typed, and all are shown for a finished choice", () => {
  const options = [
    { value: "stdlib", label: "stdlib", about: "Python source" },
    { value: "text:", label: "text:<path>", about: "UTF-8 text" },
    { value: "", label: "org/name", about: "the hub" },
  ];
  assert.equal(fitting(options, "").length, 3);
  assert.equal(fitting(options, "stdlib").length, 3);
  assert.deepEqual(fitting(options, "utf").map((option) => option.value), ["text:"]);
  assert.deepEqual(fitting(options, "text:novels"), []);
});

test("arrow keys go round", () => {
  assert.equal(moveTo(-1, 3, "ArrowDown"), 0);
  assert.equal(moveTo(2, 3, "ArrowDown"), 0);
  assert.equal(moveTo(-1, 3, "ArrowUp"), 2);
  assert.equal(moveTo(1, 3, "ArrowUp"), 0);
  assert.equal(moveTo(1, 3, "End"), 2);
  assert.equal(moveTo(1, 3, "Home"), 0);
  assert.equal(moveTo(1, 3, "x"), 1);
  assert.equal(moveTo(0, 0, "ArrowDown"), -1);
});

test("what opens stays inside", () => {
  assert.equal(opensTo(10, 240, 300), "right");
  assert.equal(opensTo(160, 240, 300), "left");
});

test("identities differ", () => {
  assert.notEqual(freshId(), freshId());
  assert.match(freshId(), /^[a-z0-9]{8,}$/);
});
