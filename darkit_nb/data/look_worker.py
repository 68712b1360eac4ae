"""Looks at data in a process of its own: `python -m darkit_nb.data.look_worker`, settings in, JSON lines out.

Standard input holds one JSON object: `data`, the data section of a configuration, and `plugins`, modules to import
first. Each line of standard output is a `progress`, the `look`, or the `problem` that stands in its way.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import IO, Any

from darkit_nb.config import RunConfig
from darkit_nb.data.look import look
from darkit_nb.errors import DarkitError
from darkit_nb.plugins import import_modules

REPORT_EVERY_S = 0.1


class _Reporter:
    """Writes lines, progress at most ten times a second. A reader that is gone ends this process."""

    def __init__(self, out: IO[str]) -> None:
        self._out = out
        self._stage, self._time = "", 0.0

    def write(self, **line: Any) -> None:
        self._out.write(json.dumps(line) + "\n")
        self._out.flush()

    def progress(self, stage: str, fraction: float) -> None:
        now = time.monotonic()
        if stage != self._stage or now - self._time >= REPORT_EVERY_S:
            self._stage, self._time = stage, now
            self.write(progress={"stage": stage, "fraction": fraction})


def main(source: IO[str] = sys.stdin, out: IO[str] = sys.stdout) -> int:
    """Look, and write what is found; returns the exit status."""
    request = json.load(source)
    reporter = _Reporter(out)
    try:
        import_modules(request["plugins"], Path.cwd())
        settings = RunConfig.model_validate({"data": request["data"]}).data
        found = look(settings, seed=settings.split_seed, progress=reporter.progress)
    except DarkitError as error:
        fields = ("message", "expected", "received", "cause", "fix")
        reporter.write(problem={name: getattr(error, name) for name in fields if getattr(error, name)})
        return 2
    reporter.write(look=found.to_dict())
    return 0


def _leave(signum: int, frame: FrameType | None) -> None:
    """A cancelled preparation removes its unfinished files on the way out."""
    sys.exit(128 + signum)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _leave)
    sys.exit(main())
