"""A run at a glance: state, progress, measurements, and what its folder holds; as text and as a static picture."""

from __future__ import annotations

import html
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from darkit_nb.runs.summary import RunSummary
from darkit_nb.views.numbers import duration, energy, percent, short, significant

STATE_COLOURS = {
    "running": "#2f9e5f",
    "starting": "#2b7fd0",
    "queued": "#2b7fd0",
    "finished": "#2b7fd0",
    "stopped": "#b07a10",
    "failed": "#d84343",
    "lost": "#d84343",
    "damaged": "#d84343",
}
"""Readable on white and on black."""

_BOX = "border:1px solid rgba(128,128,128,.45);border-radius:6px;padding:10px 12px;font:13px/1.5 system-ui,sans-serif"
_LOG = (
    "margin:8px 0 0;padding:6px 8px;background:rgba(128,128,128,.12);border-radius:4px;"
    "white-space:pre-wrap;overflow-wrap:anywhere;font-size:12px"
)
_LOG_LINES = 8
_CONTROL = re.compile(r"\x1b\[[0-9;:?]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[@-Z\\^_]|[\x00-\x08\x0b-\x1f\x7f]")


@dataclass(frozen=True, kw_only=True)
class RunCard:
    """What a panel shows of a run.

    Attributes:
        summary: state, progress and last measurements.
        memory_bytes: of the trainer.
        problem: why it failed, as a widget's problem.
        checkpoints: `step`, `bytes`, `time` and `path` of each, newest first.
        events: lines of `event_line`.
        edits: those in its model now, each in a few words.
        settings: those that differ from the defaults.
        command: what starts the same run from a terminal.
        log: its last lines, plain.
        missing: whether its folder is gone.
    """

    summary: RunSummary
    memory_bytes: float | None = None
    problem: Mapping[str, Any] | None = None
    checkpoints: Sequence[Mapping[str, Any]] = ()
    events: Sequence[Mapping[str, Any]] = ()
    edits: Sequence[str] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    command: str = ""
    log: Sequence[str] = ()
    missing: bool = False

    def to_text(self) -> str:
        """Plain text for a terminal."""
        state = self.summary.state + (f" ({self.summary.reason})" if self.summary.reason else "")
        facts = {
            "state": "its folder is gone" if self.missing else state,
            "progress": self.progress(),
            **self.measurements(),
            "checkpoints": ", ".join(str(each["step"]) for each in reversed(self.checkpoints)) or "none",
            "edits": "; ".join(self.edits),
            **self.settings,
            "command": self.command,
        }
        width = max(map(len, facts))
        lines = [f"Run {self.summary.id}", *(f"  {name:{width}}  {text}" for name, text in facts.items() if text)]
        return "\n".join([*lines, *self._problem_lines(), *(f"  | {line}" for line in self.log[-_LOG_LINES:])])

    def to_html(self) -> str:
        """The same with inline styles, in the colours of the page around it."""
        summary, escape = self.summary, html.escape
        state = "deleted" if self.missing else summary.state
        colour = STATE_COLOURS.get(state, "inherit")
        tiles = "".join(
            f'<span style="display:inline-block;margin:4px 20px 0 0"><span style="opacity:.7">{escape(name)}</span> '
            f"<b>{escape(text)}</b></span>"
            for name, text in self.measurements().items()
        )
        edits = "".join(f'<div><span style="opacity:.7">edit</span> {escape(edit)}</div>' for edit in self.edits)
        told = "<br>".join(map(escape, self._problem_lines()))
        problem = f'<div style="margin-top:6px;color:#d84343">{told}</div>' if told else ""
        log = f'<pre style="{_LOG}">{escape(chr(10).join(self.log[-_LOG_LINES:]))}</pre>' if self.log else ""
        return (
            f'<div style="{_BOX}"><b>{escape(summary.name)}</b> '
            f'<span style="color:{colour};font-weight:600">● {escape(state)}</span> '
            f'<code style="opacity:.7">{escape(summary.id)}</code>'
            f"{_bar(summary)}<div>{escape(self.progress())}</div><div>{tiles}</div>{edits}{problem}{log}</div>"
        )

    def progress(self) -> str:
        """Steps done, time spent and time left."""
        summary = self.summary
        done = "–" if summary.step is None else str(summary.step)
        told = [f"step {done} of {summary.total_steps or '–'}"]
        if summary.started is not None:
            until = summary.ended or (time.time() if summary.state in ("running", "starting") else None)
            told += [duration(max(0.0, until - summary.started))] if until else []
            told.append(f"started {datetime.fromtimestamp(summary.started):%Y-%m-%d %H:%M}")
        if summary.state == "running" and summary.eta_s is not None:
            told.append(f"{duration(summary.eta_s)} left")
        return " · ".join(told)

    def measurements(self) -> dict[str, str]:
        """The last ones, by name; those not measured are left out."""
        summary = self.summary
        found = {
            "loss": (summary.loss, significant),
            "bits per byte": (summary.bits_per_byte, significant),
            "firing rate": (summary.firing_rate, percent),
            "energy per token, simulated": (summary.energy_pj, energy),
            "tokens/s": (summary.tokens_per_s, short),
            "memory": (self.memory_bytes, lambda value: f"{short(value)}B"),
        }
        return {name: write(value) for name, (value, write) in found.items() if value is not None}

    def _problem_lines(self) -> list[str]:
        if not self.problem:
            return []
        details = {"": "message", "expected: ": "expected", "received: ": "received", "likely cause: ": "cause"}
        named = {**details, "what to do: ": "fix"}
        return [f"{title}{text}" for title, key in named.items() if (text := self.problem.get(key))]


def plain_line(line: str) -> str:
    """A line of a log without the control sequences of terminals."""
    return _CONTROL.sub("", line)


def _bar(summary: RunSummary) -> str:
    if not summary.total_steps or summary.step is None:
        return ""
    share = 100 * min(1.0, max(0.0, summary.step / summary.total_steps))
    return (
        '<div style="height:6px;border-radius:3px;margin:6px 0;background:rgba(128,128,128,.25)">'
        f'<div style="height:6px;border-radius:3px;width:{share:.1f}%;background:#7b61e0"></div></div>'
    )
