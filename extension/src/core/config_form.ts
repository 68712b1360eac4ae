// The configuration form without a page: what it holds, what a search shows, which edits are on their way.

export type Option = { value: string; label: string; about: string };
export type FormField = {
  key: string;
  label: string;
  kind: string;
  about: string;
  expected: string;
  range: string;
  default: string;
  nullable: boolean;
  choices: string[];
  options: Option[];
  placeholder?: string;
};
export type Group = {
  section: string;
  title: string;
  about: string;
  switch: { off: string } | null;
  collapsed: boolean;
  first: FormField[];
  more: FormField[];
};
export type StartingPoint = { name: string; title: string; about: string; scope: "run" | "spike" };
export type Failure = { kind: string; plugin: string; why: string };
export type Layout = { groups: Group[]; starting_points: StartingPoint[]; failures: Failure[] };
export type FieldError = { brief: string; message: string; expected?: string; received?: string; fix?: string };
export type FormState = {
  texts: Record<string, string>;
  off: string[];
  changed: string[];
  errors: Record<string, FieldError>;
  recipes: { name: string; text: string }[];
  note: { facts: string[]; fits: boolean; fix: string | null };
  undo: string | null;
  seen: Record<string, number>;
};

/** Whether every word of a query occurs in a field's key, label or description. */
export function matches(field: FormField, query: string): boolean {
  const text = `${field.key} ${field.label} ${field.about}`.toLowerCase();
  return words(query).every((word) => text.includes(word));
}

function words(query: string): string[] {
  return query.toLowerCase().split(/\s+/).filter(Boolean);
}

/** The groups that hold a match, each with its matching fields only; a group whose title matches is whole. */
export function search(layout: Layout, query: string): { group: Group; fields: FormField[] }[] {
  if (!words(query).length) return [];
  return layout.groups
    .map((group) => {
      const all = [...group.first, ...group.more];
      const whole = words(query).every((word) => group.title.toLowerCase().includes(word));
      return { group, fields: whole ? all : all.filter((field) => matches(field, query)) };
    })
    .filter(({ fields }) => fields.length > 0);
}

/** The line under a field: its default where it was changed and its limits, or what the chosen thing is. */
export function hint(field: FormField, changed: boolean, text: string): string {
  const chosen = field.options.find((option) => option.value && option.value === text);
  if (chosen) return chosen.about;
  const usual = changed && field.kind !== "true/false" ? `default ${field.default || "null"}` : "";
  return [usual, field.range].filter(Boolean).join(" · ");
}

/** How many of these keys are in a list, and how many have an error. */
export function tally(group: Group, state: FormState): { changed: number; errors: number } {
  const off = state.off.includes(group.section);
  const keys = [...(off ? [] : [...group.first, ...group.more].map((field) => field.key)), group.section];
  return {
    changed: keys.filter((key) => key && state.changed.includes(key)).length,
    errors: keys.filter((key) => key && key in state.errors).length,
  };
}

/** Errors in the order of the fields on the page; those of no field come last. */
export function orderedErrors(layout: Layout, state: FormState): { key: string; label: string; error: FieldError }[] {
  const fields = layout.groups.flatMap((group) => [...group.first, ...group.more].map((field) => ({ group, field })));
  const known = fields
    .filter(({ field }) => field.key in state.errors)
    .map(({ group, field }) => ({ key: field.key, label: `${group.title}: ${field.label}`, error: state.errors[field.key] as FieldError }));
  const rest = Object.entries(state.errors)
    .filter(([key]) => !fields.some(({ field }) => field.key === key))
    .map(([key, error]) => ({ key, label: key || "Configuration", error }));
  return [...known, ...rest];
}

export type Edit = { key: string; text?: string; on?: boolean };

/**
 * Edits on their way to the kernel. What a person just wrote stays on the screen until the kernel has answered with a
 * state that contains it; nothing that arrives meanwhile can take a letter back.
 */
export class Edits {
  private last = 0;
  private readonly written = new Map<string, { edit: Edit; number: number }>();
  private waiting = new Map<string, Edit>();

  write(edit: Edit): void {
    this.last += 1;
    this.written.set(edit.key, { edit, number: this.last });
    this.waiting.set(edit.key, edit);
  }

  /** What has not been sent, the last edit of each key, and the number to answer with. */
  take(): { edits: Edit[]; number: number } | null {
    if (!this.waiting.size) return null;
    const edits = [...this.waiting.values()];
    this.waiting = new Map();
    return { edits, number: this.last };
  }

  /** Forget what the kernel has answered. */
  settle(seen: number): void {
    for (const [key, { number }] of this.written) if (number <= seen) this.written.delete(key);
  }

  text(key: string, state: FormState): string {
    const edit = this.written.get(key)?.edit;
    return edit?.text ?? (edit?.on === undefined ? undefined : String(edit.on)) ?? state.texts[key] ?? "";
  }

  isOff(section: string, state: FormState): boolean {
    const on = this.written.get(section)?.edit.on;
    return on === undefined ? state.off.includes(section) : !on;
  }
}

/** What a file is to the form, by its name. */
export function kindOfFile(name: string): "yaml" | "archive" | null {
  if (/\.ya?ml$/i.test(name)) return "yaml";
  return /\.(zip|tar|tar\.gz|tgz|tar\.bz2|tbz2|tar\.xz|txz)$/i.test(name) ? "archive" : null;
}

export const PIECE_BYTES = 768 * 1024;
export const PIECES_AHEAD = 4;

/** Where the next piece of an upload begins and ends; null while enough is on its way or nothing is left. */
export function nextPiece(sent: number, received: number, size: number): [number, number] | null {
  if (sent >= size || sent - received >= PIECES_AHEAD * PIECE_BYTES) return null;
  return [sent, Math.min(size, sent + PIECE_BYTES)];
}

/** The options that fit what is typed; all of them when it is exactly one of them, so that one can look around. */
export function fitting(options: readonly Option[], text: string): Option[] {
  const typed = text.trim().toLowerCase();
  if (!typed || options.some((option) => option.value === typed)) return [...options];
  const found = options.filter((option) => `${option.label} ${option.about}`.toLowerCase().includes(typed));
  return found;
}

/** The option a key moves to in a list of `count`; −1 is none. */
export function moveTo(active: number, count: number, key: string): number {
  if (!count) return -1;
  if (key === "ArrowDown") return (active + 1) % count;
  if (key === "ArrowUp") return active <= 0 ? count - 1 : active - 1;
  if (key === "Home") return 0;
  if (key === "End") return count - 1;
  return active;
}

/** A name nobody else has; crypto.randomUUID is missing on plain http. */
export function freshId(): string {
  return Array.from(crypto.getRandomValues(new Uint32Array(3)), (part) => part.toString(36)).join("");
}

/** Where something of a width opens to from a left edge: to the right, unless it would stick out. */
export function opensTo(left: number, width: number, limit: number): "left" | "right" {
  return left + width > limit ? "left" : "right";
}
