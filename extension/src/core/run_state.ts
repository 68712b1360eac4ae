// State of a run from its files, as far as a browser can tell: it sees heartbeats, not processes. The law is
// darkit_nb/runs/status.py, which also looks at the process.

export type State = "created" | "queued" | "starting" | "running" | "finished" | "stopped" | "failed" | "lost";

/** `status.json`, written by the trainer. */
export interface StatusFile {
  state?: string;
  attempt?: number;
  step?: number | null;
  total_steps?: number | null;
  heartbeat?: number | null;
  started?: number | null;
  ended?: number | null;
  supervisor?: Process | null;
  message?: string | null;
  problem?: { message?: string } | null;
}

/** `supervisor.json`, written by the process that started the trainer and watches it. */
export interface LaunchFile extends Process {
  attempt?: number;
  heartbeat?: number | null;
  ended?: number | null;
  problem?: { message?: string } | null;
}

interface Process {
  pid?: number;
  process_started?: number | null;
}

export interface RunFiles {
  status: StatusFile | null;
  launch: LaunchFile | null;
  /** Whether `queued.json` is there: it waits for its turn. */
  queued: boolean;
}

export interface DerivedState {
  state: State;
  reason: string | null;
}

/** A heartbeat older than this counts as none; writers beat every five seconds. */
export const STALE_SECONDS = 60;

const ENDED = ["finished", "stopped", "failed"];
const ACTIVE = ["starting", "running"];

/** State and, where it is not plain, the reason. `now` is Unix time on the server's clock. */
export function deriveState(files: RunFiles, now: number): DerivedState {
  const found = files.launch && governs(files) ? supervised(files, files.launch, now) : alone(files.status, now);
  if (files.queued && !isActive(found.state)) return { state: "queued", reason: null };
  return found;
}

/** Whether a process is, or seems to be, at work on it. */
export function isActive(state: State): boolean {
  return ACTIVE.includes(state);
}

/** Whether the launch is the one the run is in: its trainer has not begun yet, or is the one that wrote the status. */
function governs({ status, launch }: RunFiles): boolean {
  if (!launch) return false;
  if ((status?.attempt ?? 0) < (launch.attempt ?? 0)) return true;
  const named = status?.supervisor;
  return !!named && named.pid === launch.pid && named.process_started === launch.process_started;
}

function alone(status: StatusFile | null, now: number): DerivedState {
  const recorded = status?.state ?? "created";
  const message = status?.message ?? null;
  if (recorded === "created" || ENDED.includes(recorded)) return { state: recorded as State, reason: message };
  if (!ACTIVE.includes(recorded)) return { state: "lost", reason: `status.json cannot be understood: ${recorded}` };
  return silent(status?.heartbeat, now) ?? { state: recorded as State, reason: message };
}

function supervised(files: RunFiles, launch: LaunchFile, now: number): DerivedState {
  const status = files.status;
  const begun = (status?.attempt ?? 0) >= (launch.attempt ?? 0);
  const recorded = status?.state ?? "created";
  if (begun && ENDED.includes(recorded)) return alone(status, now);
  if (launch.ended) {
    return { state: "failed", reason: launch.problem?.message ?? "The training process ended without saying why." };
  }
  const gone = silent(launch.heartbeat, now);
  if (gone) return gone;
  return begun && ACTIVE.includes(recorded) ? { state: recorded as State, reason: null } : { state: "starting", reason: null };
}

function silent(heartbeat: number | null | undefined, now: number): DerivedState | null {
  const age = now - (heartbeat ?? 0);
  return age > STALE_SECONDS ? { state: "lost", reason: `no heartbeat for ${Math.round(age)} seconds` } : null;
}
