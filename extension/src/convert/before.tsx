// Before the start: what it will take, the buttons, and the commands that do the same.
import { useEffect, useRef, useState } from "preact/hooks";
import { freshId } from "../core/config_form";
import { Button, CodeBox, ErrorBox, Tabs } from "../ui/parts";
import type { Problem } from "../ui/widget";
import type { SetupState } from "./setup";

export type Plan = {
  stage: "none" | "planning" | "ready" | "failed" | "old";
  tiles: { name: string; value: string; about: string }[];
  lines: string[];
  problem: Problem | null;
};
type Act = (name: string, rest?: Record<string, unknown>) => void;

export function Before({ plan, state, answered, act }: { plan: Plan; state: SetupState; answered: string[]; act: Act }) {
  const [details, setDetails] = useState(false);
  const clicked = useRef("");
  const [waiting, setWaiting] = useState(false);
  useEffect(() => {
    if (!clicked.current || !answered.includes(clicked.current)) return;
    clicked.current = "";
    setWaiting(false);
  }, [answered]);
  const start = () => {
    // The reference, not the state: two clicks of a double click come before the next draw.
    if (clicked.current) return;
    clicked.current = freshId();
    setWaiting(true);
    act("start", { click: clicked.current });
  };
  const planning = plan.stage === "planning";
  const others = state.compare.filter((each) => each.on).map((each) => each.name);
  return (
    <div class="cv-before">
      <dl class="cv-tiles" data-old={plan.stage === "old" || planning} aria-label="What the conversion will take">
        {plan.tiles.map(({ name, value, about }) => (
          <div key={name} title={about}><dt>{name}</dt><dd data-none={value === "–"}>{value}</dd></div>
        ))}
      </dl>
      <ErrorBox problem={plan.problem} />
      <div class="dk-row">
        <Button disabled={!state.ready || planning} onClick={() => act("plan")}>{planning ? "Planning…" : plan.stage === "old" ? "Plan again" : "Plan"}</Button>
        <Button kind="primary" disabled={!state.ready || waiting} onClick={start}>{waiting ? "Starting…" : others.length ? `Start ${others.length + 1} conversions` : "Start conversion"}</Button>
        <span class="dk-grow" />
        {plan.lines.length > 0 && (
          <button type="button" class="dk-link" aria-expanded={details} onClick={() => setDetails(!details)}>{details ? "hide the plan" : "the plan in words"}</button>
        )}
      </div>
      <div class="cv-facts" role="status">
        {others.length > 0 && `${plan.tiles.some(({ value }) => value !== "–") ? `That is for ${state.pipeline} alone. ` : ""}To compare, ${list(others)} ${others.length > 1 ? "follow" : "follows"}, one after the other, on the same texts.`}
      </div>
      {details && plan.lines.length > 0 && <pre class="dk-code" aria-label="Plan in words">{plan.lines.join("\n")}</pre>}
    </div>
  );
}

function list(names: string[]): string {
  return names.length > 1 ? `${names.slice(0, -1).join(", ")} and ${names[names.length - 1]}` : names.join("");
}

const LABELS: Record<string, string> = {
  Shell: "command that does exactly this",
  Python: "Python that does the same",
  Settings: "every setting as JSON",
};

export function Commands({ state }: { state: SetupState }) {
  const [selected, setSelected] = useState("Shell");
  const found = state.recipes.find((recipe) => recipe.name === selected);
  return (
    <div class="cv-commands">
      <Tabs names={Object.keys(LABELS)} selected={selected} onSelect={setSelected} label="The same conversion elsewhere" />
      {found
        ? <CodeBox text={found.text} label={LABELS[selected] ?? selected} />
        : <pre class="dk-code dk-muted">The command appears here as soon as every setting fits.</pre>}
    </div>
  );
}
