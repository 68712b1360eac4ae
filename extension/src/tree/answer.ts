// What the kernel answers about a module: one answer at a time, of the module and side it was asked for.
import { useEffect, useState } from "preact/hooks";
import type { Side } from "../core/tree_compare";
import { type Model, type Problem, useAsk, useTrait } from "../ui/widget";

export type About = { path: string; side: Side; problem?: Problem };

/** The answer of `do_<name>` to this module and side, null before it is there; how to ask; and whether it was asked. */
export function useAnswer<Answer extends About>(model: Model, name: string, path: string, side: Side): [Answer | null, () => void, boolean] {
  const send = useAsk(model);
  const answer = useTrait<Answer | null>(model, name);
  const failed = useTrait<Problem | null>(model, "problem");
  const [asked, setAsked] = useState(false);
  useEffect(() => setAsked(false), [failed, path, side]);
  const ask = () => { setAsked(true); send(name, { path, side }); };
  return [answer?.path === path && answer.side === side ? answer : null, ask, asked];
}
