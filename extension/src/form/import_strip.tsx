// An archive on its way to become a run.
import { Button, ErrorBox, Progress } from "../ui/parts";
import type { Problem } from "../ui/widget";

export type Importing = {
  stage: "upload" | "import" | "done" | "refused";
  upload: string;
  name: string;
  received?: number;
  size?: number;
  run?: string;
  left_out?: string[];
  problem?: Problem;
  may_drop_pickles?: boolean;
};

type Props = { importing: Importing; onCancel: () => void; onUse: () => void; onDropPickles: () => void };

export function ImportStrip({ importing, onCancel, onUse, onDropPickles }: Props) {
  const { stage, name, received = 0, size = 1 } = importing;
  const percent = Math.floor((100 * received) / size);
  if (stage === "refused")
    return (
      <div class="dk-stack" role="status">
        <ErrorBox problem={importing.problem} onDismiss={onCancel} />
        {importing.may_drop_pickles && (
          <div class="dk-row"><Button onClick={onDropPickles}>Import without the pickles</Button></div>
        )}
      </div>
    );
  return (
    <div class="dk-import" role="status">
      <div class="dk-row">
        <span class="dk-grow dk-ellipsis" title={importing.run}>
          {stage === "upload" && `Uploading ${name}: ${percent} %`}
          {stage === "import" && `Checking and unpacking ${name} …`}
          {stage === "done" && <>Imported as <code>{importing.run?.split("/").pop()}</code></>}
        </span>
        {stage === "upload" && <Button onClick={onCancel}>Cancel</Button>}
        {stage === "done" && <Button onClick={onUse}>Train from its weights</Button>}
        {stage === "done" && <Button kind="quiet" aria-label="Dismiss" onClick={onCancel}>✕</Button>}
      </div>
      {stage === "done" && Boolean(importing.left_out?.length) && (
        <div class="dk-muted">left out, as nothing here reads them: {importing.left_out?.join(", ")}</div>
      )}
      {stage === "upload" && <Progress share={received / size} label={`Upload of ${name}`} />}
      {stage === "import" && <Progress share={null} label={`Import of ${name}`} />}
    </div>
  );
}
