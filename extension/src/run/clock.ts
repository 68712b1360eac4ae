// Time as Python's clock has it: the kernel may run on another machine than the page.
import { useEffect, useRef, useState } from "preact/hooks";

const SAME_SECONDS = 30;

/** Unix seconds now, by the clock that wrote `told`; ticks every second while something goes on. */
export function useNow(told: number | undefined, ticking: boolean): number {
  const [, tick] = useState(0);
  const skew = useRef(0);
  const last = useRef<number | undefined>(undefined);
  if (told !== undefined && told !== last.current) {
    const difference = told - Date.now() / 1000;
    // What was told before a page was reloaded is old; only a clock that is really elsewhere counts.
    if (last.current !== undefined || difference > SAME_SECONDS) skew.current = Math.abs(difference) > SAME_SECONDS ? difference : 0;
    last.current = told;
  }
  useEffect(() => {
    if (!ticking) return undefined;
    const timer = setInterval(() => tick((count) => count + 1), 1000);
    return () => clearInterval(timer);
  }, [ticking]);
  return Date.now() / 1000 + skew.current;
}

/** 14:05 today, 21 Nov 14:05 before. */
export function clock(seconds: number | null | undefined, now: number): string {
  if (seconds === null || seconds === undefined) return "–";
  const date = new Date(1000 * seconds);
  const pad = (value: number) => String(value).padStart(2, "0");
  const time = `${pad(date.getHours())}:${pad(date.getMinutes())}`;
  if (date.toDateString() === new Date(1000 * now).toDateString()) return time;
  const month = date.toLocaleString("en", { month: "short" });
  const year = date.getFullYear() === new Date(1000 * now).getFullYear() ? "" : ` ${date.getFullYear()}`;
  return `${date.getDate()} ${month}${year} ${time}`;
}
