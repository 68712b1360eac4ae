import assert from "node:assert/strict";
import { test } from "node:test";
import { deriveState, type LaunchFile, type StatusFile } from "../src/core/run_state";

const NOW = 1_795_330_508;
const state = (status: StatusFile | null, launch: LaunchFile | null = null, queued = false) =>
  deriveState({ status, launch, queued }, NOW).state;
const supervisor = { pid: 7, process_started: 3.5 };
const launch = { ...supervisor, attempt: 1, heartbeat: NOW - 5, ended: null };

test("a training from a terminal is judged by its own heartbeat", () => {
  assert.equal(state(null), "created");
  assert.equal(state({ state: "created" }), "created");
  assert.equal(state({ state: "running", heartbeat: NOW - 59 }), "running");
  assert.equal(state({ state: "starting", heartbeat: NOW - 1 }), "starting");
  assert.equal(state({ state: "finished", heartbeat: 0 }), "finished");
  assert.deepEqual(deriveState({ status: { state: "running", heartbeat: NOW - 90 }, launch: null, queued: false }, NOW), {
    state: "lost",
    reason: "no heartbeat for 90 seconds",
  });
});

test("a state nobody knows is lost, and says so", () => {
  assert.match(deriveState({ status: { state: "dreaming" }, launch: null, queued: false }, NOW).reason ?? "", /dreaming/);
});

test("before the trainer has begun, its supervisor speaks for it", () => {
  assert.equal(state(null, launch), "starting");
  assert.equal(state({ state: "stopped", attempt: 1, heartbeat: NOW - 900 }, { ...launch, attempt: 2 }), "starting");
  assert.equal(state(null, { ...launch, heartbeat: NOW - 61 }), "lost");
});

test("a supervised run is lost when its supervisor falls silent, whatever the trainer last wrote", () => {
  const running = { state: "running", attempt: 1, supervisor, heartbeat: NOW - 1 };
  assert.equal(state(running, launch), "running");
  assert.equal(state(running, { ...launch, heartbeat: NOW - 61 }), "lost");
  assert.equal(state({ ...running, state: "stopped" }, { ...launch, heartbeat: NOW - 61 }), "stopped");
});

test("a trainer that ended without a word has failed, with what its supervisor saw", () => {
  const ended = { ...launch, ended: NOW - 2, problem: { message: "It was killed by signal 9." } };
  const status = { state: "running", attempt: 1, supervisor, heartbeat: NOW - 4 };
  assert.deepEqual(deriveState({ status, launch: ended, queued: false }, NOW), {
    state: "failed",
    reason: "It was killed by signal 9.",
  });
});

test("an old launch says nothing about a run that was resumed from a terminal", () => {
  const resumed = { state: "running", attempt: 2, supervisor: null, heartbeat: NOW - 1 };
  assert.equal(state(resumed, { ...launch, heartbeat: NOW - 9000 }), "running");
});

test("a run waits for its turn unless something is at work on it", () => {
  assert.equal(state(null, null, true), "queued");
  assert.equal(state({ state: "stopped" }, null, true), "queued");
  assert.equal(state({ state: "running", heartbeat: NOW }, null, true), "running");
});
