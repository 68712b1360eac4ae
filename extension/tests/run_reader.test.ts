import assert from "node:assert/strict";
import { test } from "node:test";
import { type Entry, type Files, lastMeasurements, RunReader } from "../src/core/run_reader";

const NOW = 1_795_330_508;

/** Files in memory: path → text; a change is seen by its counter, as a time of modification is. */
class Disk implements Files {
  readonly asked: string[] = [];
  private readonly content = new Map<string, { text: string; modified: number }>();
  private clock = 0;

  write(path: string, value: unknown): void {
    const text = typeof value === "string" ? value : JSON.stringify(value);
    this.content.set(path, { text, modified: ++this.clock });
  }

  delete(folder: string): void {
    for (const path of this.content.keys()) if (path.startsWith(`${folder}/`)) this.content.delete(path);
  }

  async list(path: string): Promise<Entry[]> {
    this.asked.push(`list ${path}`);
    const prefix = path ? `${path}/` : "";
    const found = new Map<string, Entry>();
    for (const [file, { text, modified }] of this.content) {
      if (!file.startsWith(prefix)) continue;
      const [name = "", ...deeper] = file.slice(prefix.length).split("/");
      const last = Math.max(modified, Number(found.get(name)?.modified ?? 0));
      found.set(name, { name, folder: deeper.length > 0, size: deeper.length ? null : text.length, modified: `${last}` });
    }
    if (!found.size) throw new Error(`${path} is not there`);
    return [...found.values()];
  }

  async text(path: string): Promise<string> {
    this.asked.push(`text ${path}`);
    return this.content.get(path)?.text ?? assert.fail(`${path} is not there`);
  }

  async tail(path: string, bytes: number): Promise<string> {
    this.asked.push(`tail ${path}`);
    return (this.content.get(path)?.text ?? "").slice(-bytes);
  }
}

const FIRST = "runs/20261122-014207-first-ab12";
const SECOND = "runs/20261122-024207-second-cd34";
const train = (step: number, loss: number) => JSON.stringify({ kind: "train", step, loss });

function disk(): Disk {
  const made = new Disk();
  made.write("notes.txt", "");
  for (const run of [FIRST, SECOND]) made.write(`${run}/config.yaml`, "model: {}");
  made.write(`${FIRST}/status.json`, { state: "finished", step: 60, total_steps: 60, started: NOW - 900, ended: NOW - 800 });
  made.write(`${FIRST}/metrics.jsonl`, `${train(60, 2.5)}\n{"kind": "evaluation", "bits_per_byte": 3.25}\n`);
  made.write(`${SECOND}/status.json`, { state: "running", step: 7, total_steps: 200, heartbeat: NOW });
  return made;
}

test("runs are listed newest first, with what is known of each", async () => {
  const [group, ...others] = await new RunReader(disk()).read([""], NOW, 30);
  assert.deepEqual(others, []);
  assert.deepEqual(group?.runs.map((run) => [run.name, run.state]), [["second", "running"], ["first", "finished"]]);
  assert.deepEqual(group?.runs[1], {
    path: FIRST,
    id: "20261122-014207-first-ab12",
    name: "first",
    state: "finished",
    reason: null,
    step: 60,
    totalSteps: 60,
    loss: 2.5,
    bitsPerByte: 3.25,
    started: NOW - 900,
    ended: NOW - 800,
  });
});

test("a second look asks only for what may have changed", async () => {
  const files = disk();
  const reader = new RunReader(files);
  await reader.read([""], NOW, 30);
  files.asked.length = 0;
  files.write(`${SECOND}/metrics.jsonl`, `${train(8, 1.75)}\n`);
  const [group] = await reader.read([""], NOW, 30);
  assert.equal(group?.runs[0]?.loss, 1.75);
  assert.deepEqual(files.asked, ["list ", "list runs", `list ${SECOND}`, `tail ${SECOND}/metrics.jsonl`]);
});

test("measurements stay known when the end of the file holds none", async () => {
  const files = disk();
  const reader = new RunReader(files);
  await reader.read([""], NOW, 30);
  files.write(`${FIRST}/metrics.jsonl`, `{"kind": "spikes", "layers": []}\n`);
  const [group] = await reader.read([""], NOW, 30);
  assert.equal(group?.runs[1]?.loss, 2.5);
});

test("a run deleted while it is shown is shown no more", async () => {
  const files = disk();
  const reader = new RunReader(files);
  await reader.read([""], NOW, 30);
  files.delete(FIRST);
  const [group] = await reader.read([""], NOW, 30);
  assert.deepEqual(group?.runs.map((run) => run.name), ["second"]);
});

test("a run that goes while it is read is passed over", async () => {
  const files = disk();
  const list = files.list.bind(files);
  files.list = async (path) => (path === FIRST ? Promise.reject(new Error("gone")) : list(path));
  const [group] = await new RunReader(files).read([""], NOW, 30);
  assert.deepEqual(group?.runs.map((run) => run.name), ["second"]);
});

test("folders that are no runs are left out, and a folder without runs is never asked for", async () => {
  const files = disk();
  files.write("runs/notes/readme.md", "not a run");
  files.write("elsewhere/a.txt", "");
  const groups = await new RunReader(files).read(["elsewhere", ""], NOW, 30);
  assert.equal(groups.length, 1);
  assert.equal(groups[0]?.runs.length, 2);
  assert.ok(!files.asked.includes("list elsewhere/runs"));
});

test("beyond the limit older runs are counted, not read", async () => {
  const files = disk();
  const [group] = await new RunReader(files).read([""], NOW, 1);
  assert.deepEqual(group?.runs.map((run) => run.name), ["second"]);
  assert.equal(group?.older, 1);
  assert.ok(!files.asked.some((request) => request.includes(FIRST)));
});

test("a damaged status reads as lost, and numbers JSON does not have as none", async () => {
  const files = disk();
  files.write(`${FIRST}/status.json`, '{"state": "fini');
  files.write(`${SECOND}/status.json`, `{"state": "running", "step": 7, "loss": NaN, "heartbeat": ${NOW}}`);
  const [group] = await new RunReader(files).read([""], NOW, 30);
  assert.deepEqual(group?.runs.map((run) => run.state), ["running", "lost"]);
});

test("the last measurements are found behind a torn first line and long lines of spikes", () => {
  const text = [
    'ning_rate": 0.1}',
    '{"kind": "evaluation", "loss": 2.4, "bits_per_byte": 3.5}',
    train(1, 3),
    train(2, 2),
    '{"kind": "spikes", "layers": [{"kind": "train", "loss": 9}]}'.replace('"train"', '"linear"'),
    '{"kind": "train", "loss": NaN}',
    "",
  ].join("\n");
  assert.deepEqual(lastMeasurements(text), { loss: 2, bitsPerByte: 3.5 });
  assert.deepEqual(lastMeasurements(""), { loss: null, bitsPerByte: null });
});
