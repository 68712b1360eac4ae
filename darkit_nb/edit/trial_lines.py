"""Which line of the edited text is running, and which one was the first to do harm."""

from __future__ import annotations

import sys
import traceback
from collections import Counter
from collections.abc import Callable
from types import CodeType, FrameType, TracebackType
from typing import Any

_DEEP = 100

Harm = Callable[[FrameType, Any], bool]
"""Told a frame of the edited text, and what it returns if it does, says whether the harm is done."""


class Lines:
    """Follows the lines of the edited text while a block runs.

        with Lines(folder) as lines:
            module(x)
        lines.last, lines.returned

    Args:
        folder: where the files of the edit are.
        told: called with each line before it runs, so that it is known when the process is gone.
        harm: looked at after each line, for `harmed`.

    Attributes:
        last: line that ran last.
        returned: line of the outermost return, as of a forward.
        harmed: line after which `harm` was true for the first time.
        passed: number of lines seen.
    """

    def __init__(self, folder: str, told: Callable[[int], None] | None = None, harm: Harm | None = None) -> None:
        self.last: int | None = None
        self.returned: int | None = None
        self.harmed: int | None = None
        self.passed = 0
        self._folder, self._told, self._harm = folder, told, harm
        self._ours: dict[CodeType, bool] = {}
        self._before: dict[FrameType, int] = {}
        self._outer: Any = None

    def __enter__(self) -> Lines:
        self._outer = sys.gettrace()
        sys.settrace(self._call)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._outer)
        self._before.clear()

    def again(self, harm: Harm) -> Lines:
        """The same for another run, with another harm to look for."""
        return Lines(self._folder, self._told, harm)

    def _call(self, frame: FrameType, event: str, argument: Any) -> Any:
        code = frame.f_code
        ours = self._ours.get(code)
        if ours is None:
            ours = self._ours[code] = code.co_filename.startswith(self._folder)
        return self._step if ours else None

    def _step(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "line":
            self._look(frame, None, self._before.get(frame, frame.f_lineno))
            self.last = self._before[frame] = frame.f_lineno
            self.passed += 1
            if self._told is not None:
                self._told(frame.f_lineno)
        elif event == "return":
            self._look(frame, argument, frame.f_lineno)
            self._before.pop(frame, None)
            if not self._before:
                self.returned = frame.f_lineno
        return self._step

    def _look(self, frame: FrameType, returned: Any, line: int) -> None:
        if self.harmed is None and self._harm is not None and self._harm(frame, returned):
            self.harmed = line


def line_of(error: BaseException, folder: str) -> int | None:
    """Line of the edited text that an error comes from: the innermost one that ran, or the one that is not Python."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        if isinstance(link, SyntaxError) and (link.filename or "").startswith(folder):
            return link.lineno
        line = _innermost(link.__traceback__, folder)
        if line is not None:
            return line
        line = getattr(link, "line", None)
        if isinstance(line, int):
            return line
        link = link.__cause__ or link.__context__
    return None


def _innermost(trace: TracebackType | None, folder: str) -> int | None:
    places = [line for frame, line in traceback.walk_tb(trace) if frame.f_code.co_filename.startswith(folder)]
    if len(places) > _DEEP:  # it calls itself, and the line that does so stands there most often
        return Counter(places).most_common(1)[0][0]
    return places[-1] if places else None
