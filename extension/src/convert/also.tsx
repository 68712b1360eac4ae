// Other pipelines to convert the same model with, on the same text: they are ticked, queued, and join the table.
import { useState } from "preact/hooks";
import { Button } from "../ui/parts";

/** A pipeline that may be ticked; `why` says why not. */
export type Choice = { name: string; on: boolean; why: string };

export function Also({ name, choices, onConvert }: { name: string; choices: Choice[]; onConvert: (pipelines: string[]) => void }) {
  const [ticked, setTicked] = useState<string[]>([]);
  const wanted = ticked.filter((each) => choices.some((choice) => choice.name === each && !choice.on));
  if (!choices.length) return null;
  return (
    <fieldset class="cv-alternatives">
      <legend>What would others have given? Same model, bits and texts as {name}.</legend>
      {choices.map((choice) => (
        <label key={choice.name} class="cv-tick-box" data-off={choice.on || Boolean(choice.why)} title={choice.why || (choice.on ? "is there, or waits for its turn" : undefined)}>
          <input
            type="checkbox"
            checked={choice.on || wanted.includes(choice.name)}
            disabled={choice.on || Boolean(choice.why)}
            onChange={(event) => setTicked(event.currentTarget.checked ? [...ticked, choice.name] : ticked.filter((each) => each !== choice.name))}
          />
          {choice.name}
        </label>
      ))}
      <Button disabled={!wanted.length} onClick={() => { onConvert(wanted); setTicked([]); }}>
        {wanted.length > 1 ? `Convert these ${wanted.length}` : "Convert"}
      </Button>
    </fieldset>
  );
}
