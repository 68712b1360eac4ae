// Paths of Jupyter's contents: forward slashes, no leading one, "" is the root.

export function join(...parts: string[]): string {
  return parts.map((part) => part.replace(/^\/+|\/+$/g, "")).filter(Boolean).join("/");
}

export function parent(path: string): string {
  const end = path.lastIndexOf("/");
  return end < 0 ? "" : path.slice(0, end);
}

export function baseName(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

/** How a notebook in `folder` names `path`; always with a slash, so that it reads as a path and not as an id. */
export function relative(folder: string, path: string): string {
  const from = folder.split("/").filter(Boolean);
  const to = path.split("/").filter(Boolean);
  let same = 0;
  while (same < from.length && same < to.length && from[same] === to[same]) same += 1;
  const up = from.slice(same).map(() => "..");
  const found = [...up, ...to.slice(same)].join("/");
  return found.includes("/") ? found : `./${found}`;
}

/** Folders whose `runs` are looked at: where the person is, where notebooks are open, and the root. */
export function placesOfRuns(current: string, notebooks: Iterable<string>): string[] {
  return [...new Set([current, ...[...notebooks].map(parent), ""])];
}

/** `name`, `name-1`, `name-2` … with `ending`: the first that is not taken. */
export function freeName(name: string, ending: string, taken: Iterable<string>): string {
  const used = new Set(taken);
  for (let number = 0; ; number += 1) {
    const tried = `${name}${number ? `-${number}` : ""}${ending}`;
    if (!used.has(tried)) return tried;
  }
}

const RUN_ID = /^(\d{4})(\d\d)(\d\d)-(\d\d)(\d\d)(\d\d)-(.+)-([0-9a-f]{4})$/;

/** The readable part of a run's id; the id itself where it has another form. */
export function nameOfRun(id: string): string {
  return RUN_ID.exec(id)?.[7] ?? id;
}

/** Unix time in a run's id, which is UTC; null where it has another form. */
export function timeOfRun(id: string): number | null {
  const found = RUN_ID.exec(id)?.slice(1, 7).map(Number);
  if (!found) return null;
  const [year, month, day, hour, minute, second] = found as [number, number, number, number, number, number];
  return Date.UTC(year, month - 1, day, hour, minute, second) / 1000;
}
