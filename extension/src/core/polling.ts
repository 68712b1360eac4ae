// When to look again, in milliseconds; null is: not until something happens.

export interface Looking {
  /** Whether a person can see the result. */
  visible: boolean;
  /** Whether a process is at work on what is looked at. */
  active: boolean;
  /** Looks that failed in a row. */
  failures: number;
}

const ACTIVE_MS = 3000;
const QUIET_MS = 15000;
const LONGEST_MS = 60000;

export function nextLook({ visible, active, failures }: Looking): number | null {
  if (!visible) return null;
  if (failures > 0) return Math.min(LONGEST_MS, ACTIVE_MS * 2 ** failures);
  return active ? ACTIVE_MS : QUIET_MS;
}
