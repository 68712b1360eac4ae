// Checkpoints, events and settings of a run as compact lists.
import { useState } from "preact/hooks";
import { duration, short, whole } from "../core/format";
import { Button, CodeBox, copyText } from "../ui/parts";
import { clock } from "./clock";

export type Checkpoint = { step: number; bytes: number; time: number; path: string };
export type Event = { time: number | null; step: number | null; kind: string; text: string; tone: string };
export type About = { id?: string; name?: string; folder?: string; command?: string; steps?: number; settings?: [string, string][]; problem?: string };

export function Checkpoints({ found, now }: { found: Checkpoint[]; now: number }) {
  if (!found.length) return <div class="dk-empty">No checkpoint was written yet.</div>;
  return (
    <table class="dk-table">
      <thead><tr><th data-number>step</th><th data-number>size</th><th>age</th><th><span class="dk-hidden">copy</span></th></tr></thead>
      <tbody>
        {found.map((each) => (
          <tr key={each.step}>
            <td data-number>{whole(each.step)}</td>
            <td data-number>{short(each.bytes, "B")}</td>
            <td title={new Date(1000 * each.time).toLocaleString()}>{duration(now - each.time)} ago</td>
            <td class="rp-end"><CopyPath path={each.path} step={each.step} /></td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function CopyPath({ path, step }: { path: string; step: number }) {
  const [copied, setCopied] = useState(false);
  const copy = async () => {
    await copyText(path);
    setCopied(true);
    setTimeout(() => setCopied(false), 1500);
  };
  return <Button kind="quiet" title={path} aria-label={`Copy the path of the checkpoint of step ${step}`} onClick={copy}>{copied ? "copied" : "copy path"}</Button>;
}

export function Events({ found, checkpoints, now }: { found: Event[]; checkpoints: Checkpoint[]; now: number }) {
  const saved = checkpoints.map(({ step, time, bytes }) => ({ time, step, kind: "checkpoint", text: `checkpoint, ${short(bytes, "B")}`, tone: "" }));
  const all = [...found, ...saved].sort((a, b) => (b.time ?? 0) - (a.time ?? 0));
  if (!all.length) return <div class="dk-empty">Nothing happened yet.</div>;
  return (
    <ol class="rp-events">
      {all.map((event) => (
        <li key={`${event.time} ${event.kind} ${event.step}`} data-tone={event.tone}>
          <span class="dk-muted" title={event.time ? new Date(1000 * event.time).toLocaleString() : undefined}>{clock(event.time, now)}</span>
          <span class="rp-step dk-muted">{event.step === null ? "" : `step ${whole(event.step)}`}</span>
          <span class="rp-what">{event.text}</span>
        </li>
      ))}
    </ol>
  );
}

export function Settings({ about }: { about: About }) {
  return (
    <div class="dk-stack">
      {about.settings?.length ? (
        <dl class="rp-settings">
          {about.settings.map(([key, value]) => [<dt key={key}>{key}</dt>, <dd key={`${key}:`}>{value}</dd>])}
        </dl>
      ) : <div class="dk-muted">{about.problem ?? "All settings are the defaults."}</div>}
      {about.command && <CodeBox text={about.command} label="the command that starts the same run" />}
      {about.folder && <CodeBox text={about.folder} label="the folder of this run" />}
    </div>
  );
}
