// Runs as the file interface of a Jupyter server shows them. Few requests: a folder is listed once, a run is looked at
// again only when its folder changed or it may be at work, and of the measurements only the end is read.
import { join, nameOfRun, timeOfRun } from "./paths";
import { deriveState, isActive, type LaunchFile, type State, type StatusFile } from "./run_state";

export interface Entry {
  name: string;
  folder: boolean;
  size: number | null;
  modified: string;
}

/** What the reader needs of a server; paths as in paths.ts. Every call may be refused by throwing. */
export interface Files {
  list(path: string): Promise<Entry[]>;
  text(path: string): Promise<string>;
  /** The last `bytes` bytes, or nothing where the server would send the whole of a larger file. */
  tail(path: string, bytes: number): Promise<string>;
}

export interface RunSummary {
  path: string;
  id: string;
  name: string;
  state: State;
  reason: string | null;
  step: number | null;
  totalSteps: number | null;
  loss: number | null;
  bitsPerByte: number | null;
  started: number | null;
  ended: number | null;
}

/** The runs of one folder, newest first. */
export interface RunGroup {
  folder: string;
  runs: RunSummary[];
  /** Runs that are older than those read. */
  older: number;
}

interface Known {
  status: StatusFile | null;
  launch: LaunchFile | null;
  queued: boolean;
  seen: Map<string, string>;
  folderModified: string;
  loss: number | null;
  bitsPerByte: number | null;
  isRun: boolean;
}

const TAIL_BYTES = 65536;

export class RunReader {
  private readonly known = new Map<string, Known>();

  constructor(private readonly files: Files) {}

  /** The runs in `runs` of every one of these folders; folders without any are left out. */
  async read(places: readonly string[], now: number, limit: number): Promise<RunGroup[]> {
    const groups: RunGroup[] = [];
    for (const place of places) {
      const group = await this.group(join(place, "runs"), place, now, limit);
      if (group) groups.push(group);
    }
    const kept = new Set(groups.flatMap((group) => group.runs.map((run) => run.path)));
    for (const path of this.known.keys()) if (!kept.has(path)) this.known.delete(path);
    return groups;
  }

  private async group(folder: string, place: string, now: number, limit: number): Promise<RunGroup | null> {
    // Asking for a folder that is not there would be an error in the browser's console.
    const beside = await this.files.list(place);
    if (!beside.some((entry) => entry.folder && entry.name === "runs")) return null;
    const entries = (await this.files.list(folder)).filter((entry) => entry.folder).sort(byNewest);
    const runs: RunSummary[] = [];
    let older = 0;
    for (const entry of entries) {
      if (runs.length >= limit) {
        older += 1;
        continue;
      }
      const run = await this.run(join(folder, entry.name), entry, now);
      if (run) runs.push(run);
    }
    return runs.length ? { folder, runs, older } : null;
  }

  private async run(path: string, entry: Entry, now: number): Promise<RunSummary | null> {
    const before = this.known.get(path);
    const known = before ?? unknown();
    const restless = before?.isRun && isActive(deriveState(known, now).state);
    if (!before || restless || before.folderModified !== entry.modified) {
      try {
        await this.look(path, known);
        known.folderModified = entry.modified;
      } catch {
        return null; // deleted or moved while we looked; the next look lists it no more
      }
      this.known.set(path, known);
    }
    return known.isRun ? summary(path, entry.name, known, now) : null;
  }

  /** Reads those files of a run that changed since the last look. */
  private async look(path: string, known: Known): Promise<void> {
    const entries = new Map((await this.files.list(path)).map((entry) => [entry.name, entry]));
    known.isRun = entries.has("config.yaml");
    if (!known.isRun) return;
    known.queued = entries.has("queued.json");
    const changed = (name: string) => {
      const entry = entries.get(name);
      const stamp = entry ? `${entry.modified} ${entry.size}` : "";
      const fresh = known.seen.get(name) !== stamp;
      known.seen.set(name, stamp);
      return fresh && entry !== undefined;
    };
    if (changed("status.json")) {
      const read = parse<StatusFile>(await this.files.text(join(path, "status.json")));
      known.status = read ?? { state: "unreadable" };
    }
    if (changed("supervisor.json")) known.launch = parse<LaunchFile>(await this.files.text(join(path, "supervisor.json")));
    if (changed("metrics.jsonl") && entries.get("metrics.jsonl")?.size) {
      const end = lastMeasurements(await this.files.tail(join(path, "metrics.jsonl"), TAIL_BYTES));
      known.loss = end.loss ?? known.loss;
      known.bitsPerByte = end.bitsPerByte ?? known.bitsPerByte;
    }
  }
}

/** The last training loss and the last bits per byte in the end of a metrics file, whose first line may be torn. */
export function lastMeasurements(text: string): { loss: number | null; bitsPerByte: number | null } {
  let loss: number | null = null;
  let bitsPerByte: number | null = null;
  for (const line of text.split("\n").reverse()) {
    if (loss !== null && bitsPerByte !== null) break;
    if (!/"kind": ?"(train|evaluation)"/.test(line)) continue; // lines of spikes are long, and not wanted
    const record = parse<{ kind?: string; loss?: unknown; bits_per_byte?: unknown }>(line);
    if (record?.kind === "train") loss ??= number(record.loss);
    if (record?.kind === "evaluation") bitsPerByte ??= number(record.bits_per_byte);
  }
  return { loss, bitsPerByte };
}

function summary(path: string, id: string, known: Known, now: number): RunSummary {
  const { state, reason } = deriveState(known, now);
  const status = known.status;
  return {
    path,
    id,
    name: nameOfRun(id),
    state,
    reason: state === "failed" ? (status?.problem?.message ?? reason) : reason,
    step: status?.step ?? null,
    totalSteps: status?.total_steps ?? null,
    loss: known.loss,
    bitsPerByte: known.bitsPerByte,
    started: status?.started ?? timeOfRun(id),
    ended: status?.ended ?? null,
  };
}

function unknown(): Known {
  return {
    status: null,
    launch: null,
    queued: false,
    seen: new Map(),
    folderModified: "",
    loss: null,
    bitsPerByte: null,
    isRun: false,
  };
}

/** By the time in the id where both have one; any other name by when its folder changed. */
function byNewest(one: Entry, other: Entry): number {
  const time = (entry: Entry) => timeOfRun(entry.name) ?? Date.parse(entry.modified) / 1000;
  return time(other) - time(one) || (one.name < other.name ? 1 : -1);
}

/** JSON as Python writes it: numbers may be NaN or Infinity. Null where it is none. */
function parse<T>(text: string): T | null {
  try {
    return JSON.parse(text.replace(/(?<=[:[,]\s*)-?(NaN|Infinity)(?=\s*[,}\]])/g, "null")) as T;
  } catch {
    return null;
  }
}

function number(value: unknown): number | null {
  return typeof value === "number" ? value : null;
}
