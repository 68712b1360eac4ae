"""Progress of a training in a terminal, or as a line now and then where there is none."""

from __future__ import annotations

import sys
import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

PLAIN_SECONDS = 10.0


class TerminalProgress:
    """A bar with loss, speed and validation; without a terminal, a line every ten seconds.

    Args:
        total: steps of the run.
        enabled: False shows nothing.
        start: step a resumed run goes on from.
    """

    def __init__(self, total: int, *, enabled: bool = True, start: int = 0) -> None:
        self.total, self.enabled = total, enabled
        self._console = Console(stderr=True)
        self._started, self._start, self._said = time.monotonic(), start, 0.0
        self._validation = ""
        self._stage = ""
        self._bar = Progress(
            TextColumn("[bold]training"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[values]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not enabled or not self._console.is_terminal,
        )
        self._task: Any = None

    def __enter__(self) -> TerminalProgress:
        return self

    def __exit__(self, *exc: object) -> None:
        self._bar.stop()

    def preparing(self, stage: str, fraction: float) -> None:
        """Say what is being prepared, once per stage."""
        if self.enabled and stage != self._stage:
            self._stage = stage
            self.note(f"data: {stage}")

    def note(self, line: str) -> None:
        """Say something once, above the bar."""
        if self.enabled:
            self._console.print(line, style="dim", highlight=False)

    def report(self, kind: str, values: dict[str, Any]) -> None:
        """Show a metrics line; `values` are those of `RunRecorder.write`."""
        if not self.enabled:
            return
        if kind == "evaluation":
            self._validation = f"validation {values['bits_per_byte']:.3f} bits/byte"
            self._say(f"step {values['step']}/{self.total}  {self._validation}  perplexity {values['perplexity']:.1f}")
        elif kind == "train":
            self._advance(values)

    def _advance(self, values: dict[str, Any]) -> None:
        if self._task is None:
            self._task = self._bar.add_task("train", total=self.total, completed=self._start, values="")
            self._bar.start()
        speed = values["tokens_per_s"]
        text = f"loss {values['loss']:.3f}" + (f"  {speed:,.0f} tokens/s" if speed else "")
        self._bar.update(self._task, completed=values["step"], values=f"{text}  {self._validation}")
        now = time.monotonic()
        if not self._console.is_terminal and now - self._said > PLAIN_SECONDS:
            done = values["step"] - self._start
            left = (now - self._started) / max(1, done) * (self.total - values["step"])
            self._say(f"step {values['step']}/{self.total}  {text}  {left:.0f} s left")

    def _say(self, line: str) -> None:
        self._said = time.monotonic()
        if self._console.is_terminal:
            self._bar.console.print(line, style="dim", highlight=False)
        else:
            print(line, file=sys.stderr, flush=True)
