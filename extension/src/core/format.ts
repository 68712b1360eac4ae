// Numbers and times as people read them; the same rules as the Python views.

/** Three significant digits, with k, M, G above a thousand; a dash where there is no number. */
export function short(value: number | null | undefined, unit = ""): string {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  const [scale, suffix] = size >= 1e9 ? [1e9, " G"] : size >= 1e6 ? [1e6, " M"] : size >= 1e4 ? [1e3, " k"] : [1, ""];
  const scaled = value / scale;
  const text = Number.isInteger(scaled) && Math.abs(scaled) < 10000 ? String(scaled) : significant(scaled, 3);
  const tail = unit ? (suffix ? `${suffix}${unit}` : ` ${unit}`) : suffix;
  return `${text}${tail}`.replace("-", "−");
}

/** So many significant digits, without an exponent where it can be helped. */
export function significant(value: number, digits: number): string {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e6 || size < 1e-4) return value.toExponential(digits - 1);
  const decimals = Math.max(0, digits - 1 - Math.floor(Math.log10(size)));
  return value.toFixed(Math.min(decimals, 12));
}

/** A share as a percentage. */
export function percent(share: number | null | undefined): string {
  if (share === null || share === undefined || Number.isNaN(share)) return "–";
  const value = 100 * share;
  return `${value >= 10 ? value.toFixed(0) : value.toFixed(1)} %`;
}

/** Seconds as 12 s, 3 min 05 s, 2 h 07 min, 3 d 4 h. */
export function duration(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return "–";
  const whole = Math.max(0, Math.round(seconds));
  const pad = (value: number) => String(value).padStart(2, "0");
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${pad(whole % 60)} s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${pad(Math.floor((whole % 3600) / 60))} min`;
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

const ENERGIES: [number, string][] = [[1e12, "J"], [1e9, "mJ"], [1e6, "µJ"], [1e3, "nJ"]];

/** Picojoules in the unit that suits them: 12.3 µJ. */
export function energy(picojoules: number | null | undefined): string {
  if (picojoules === null || picojoules === undefined || Number.isNaN(picojoules)) return "–";
  const [scale, unit] = ENERGIES.find(([least]) => Math.abs(picojoules) >= least) ?? [1, "pJ"];
  return `${significant(picojoules / scale, 3)} ${unit}`.replace("-", "−");
}

/** A whole number in groups of three: 12 000. */
export function whole(value: number | null | undefined): string {
  return value === null || value === undefined ? "–" : String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, "\u202f");
}

/** Text whose lines do not end between a number and its unit. */
export function unbroken(text: string): string {
  return text.replace(/(?<!\S)([−-]?\d[\d.,]*[a-zA-Z]?) (?=\S)/g, "$1\u00a0");
}
