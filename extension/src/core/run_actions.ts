// What can be done with a run in a state, and how a button says that it is being done.

export type RunStatus = { state: string; orphan_pid?: number | null; missing?: boolean; step?: number | null; total_steps?: number | null };
export type Action = "stop" | "resume" | "checkpoint" | "clone" | "end_orphan";
/** Seconds since an action was asked for and not yet acknowledged, by action. */
export type Pending = Partial<Record<Action, number>>;
export type ButtonState = { label: string; enabled: boolean; title: string };

const NAMES: Record<Action, string> = {
  stop: "Stop",
  resume: "Resume",
  checkpoint: "Checkpoint",
  clone: "Clone",
  end_orphan: "End leftover process",
};
const DOING: Record<Action, string> = {
  stop: "stopping…",
  resume: "starting…",
  checkpoint: "saving…",
  clone: "cloning…",
  end_orphan: "ending…",
};
const PATIENCE_SECONDS = 3;

/** The button of an action. */
export function button(action: Action, status: RunStatus | null, pending: Pending): ButtonState {
  const waited = pending[action];
  if (waited !== undefined && status && !status.missing) {
    const label = action === "stop" && status.state === "queued" ? "leaving…" : DOING[action];
    const long = waited >= PATIENCE_SECONDS;
    const title = `asked ${Math.round(waited)} s ago${action === "stop" || action === "checkpoint" ? "; done at the end of the step at work" : ""}`;
    return { label: long ? `${label} ${Math.round(waited)} s` : label, enabled: false, title };
  }
  const label = action === "stop" && status?.state === "queued" ? "Leave the queue" : NAMES[action];
  if (!status || status.missing) return { label, enabled: false, title: status ? "the folder of this run is gone" : "no run is shown" };
  const [enabled, title] = allowed(action, status, pending);
  return { label, enabled, title };
}

function allowed(action: Action, status: RunStatus, pending: Pending): [boolean, string] {
  const { state } = status;
  const active = state === "running" || state === "starting";
  if (action === "clone") return [true, "The same settings, for a new run"];
  if (action === "end_orphan") return [Boolean(status.orphan_pid), `Process ${status.orphan_pid} writes a checkpoint and ends; the run can be resumed then`];
  if (action === "stop") {
    if (state === "queued") return [true, "Takes the run out of the queue"];
    return active ? [true, "Writes a checkpoint and ends, at the end of the step at work"] : [false, `nothing to stop: ${state}`];
  }
  if (action === "checkpoint") {
    if (pending.stop !== undefined) return [false, "a stop writes a checkpoint"];
    return state === "running" ? [true, "Writes a checkpoint and goes on"] : [false, "only while the run is training"];
  }
  if (pending.end_orphan !== undefined) return [false, "its leftover process is being ended"];
  if (active || state === "queued") return [false, `it is ${state}`];
  if (state === "finished") return [false, "all its steps are done; in Python, run.resume([\"train.steps=…\"]) goes further"];
  return [true, status.orphan_pid ? "Ends the leftover process, and goes on from the newest checkpoint" : "Goes on from the newest checkpoint"];
}

/** Share of the steps done; null where that is not known. */
export function share(status: { step?: number | null; total_steps?: number | null }): number | null {
  const { step, total_steps: total } = status;
  return total && step !== null && step !== undefined ? Math.min(1, Math.max(0, step / total)) : null;
}
