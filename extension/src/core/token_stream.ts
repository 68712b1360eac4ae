// Generated tokens and what each of them took, as they come from Python in columns.

export type SaidTrait = {
  prompt: string;
  texts: string[];
  labels: string[];
  firing_rate: DataView;
  energy_pj: DataView;
  unary_events: DataView;
  seconds: DataView;
};

export type Token = {
  index: number; text: string; label: string;
  firingRate: number | null; energyPj: number | null; unaryEvents: number | null; seconds: number;
};

export type Totals = { tokens: number; tokensPerSecond: number | null; firingRate: number | null; energyPj: number | null };

export function tokensOf(said: SaidTrait): Token[] {
  const [rates, energies, events, seconds] = [said.firing_rate, said.energy_pj, said.unary_events, said.seconds].map(numbers) as [Column, Column, Column, Column];
  return said.texts.map((text, index) => ({
    index,
    text,
    label: said.labels[index] ?? text,
    firingRate: rates(index),
    energyPj: energies(index),
    unaryEvents: events(index),
    seconds: seconds(index) ?? 0,
  }));
}

type Column = (index: number) => number | null;

function numbers(view: DataView): Column {
  return (index) => {
    const value = view.getFloat64(8 * index, true);
    return Number.isNaN(value) ? null : value;
  };
}

export function totals(tokens: Token[]): Totals {
  const seconds = tokens.reduce((sum, token) => sum + token.seconds, 0);
  return {
    tokens: tokens.length,
    tokensPerSecond: seconds > 0 ? tokens.length / seconds : null,
    firingRate: mean(tokens.map((token) => token.firingRate)),
    energyPj: mean(tokens.map((token) => token.energyPj)),
  };
}

function mean(values: (number | null)[]): number | null {
  const known = values.filter((value) => value !== null);
  return known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : null;
}

/** Ends of the colours: the rates seen so far, rounded outwards to half a percent so that they rarely move. */
export function rateSpan(tokens: Token[]): [number, number] | null {
  const rates = tokens.map((token) => token.firingRate).filter((rate) => rate !== null);
  if (!rates.length) return null;
  const low = Math.floor(200 * Math.min(...rates)) / 200, high = Math.ceil(200 * Math.max(...rates)) / 200;
  return [low, Math.max(high, low + 0.005)];
}

const ALIKE = 0.02;

/** Heights of the bars of a strip, in percent: from the least to the largest, and all alike where they hardly differ. */
export function barHeights(values: readonly number[]): number[] {
  const low = Math.min(...values), high = Math.max(...values);
  if (high - low <= ALIKE * high) return values.map(() => 60);
  return values.map((value) => 20 + (80 * (value - low)) / (high - low));
}

/** How a token is written: line breaks are seen, and a token that only begins a character has a narrow place. */
export function written(token: Token): string {
  return token.text === "" ? "\u2009" : token.text.replaceAll("\n", "⏎\n");
}

export type Settings = { max_new_tokens: number | null; temperature: number | null; top_k: number | null; top_p: number | null; seed: number | null };

/** The line of Python that does what the button does. */
export function pythonLine(prompt: string, settings: Settings): string {
  const usual = { max_new_tokens: 64, temperature: 0.8, top_k: 0, top_p: 0.95, seed: null } as Settings;
  const changed = (Object.keys(usual) as (keyof Settings)[]).filter((name) => settings[name] !== usual[name] && settings[name] !== null);
  return `run.generate(${[JSON.stringify(prompt), ...changed.map((name) => `${name}=${settings[name]}`)].join(", ")})`;
}
