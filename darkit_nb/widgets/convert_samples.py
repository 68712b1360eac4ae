"""The float model and a converted one continuing the same text, each token as it comes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from darkit_nb.errors import RunError
from darkit_nb.runs.conversion import Conversion
from darkit_nb.widgets.writing import Writing

TOKENS = 96
KEEP_SECONDS = 300.0
"""How long both models stay in memory for the next text, unless the panel is closed or shows another conversion."""
_SAMPLING: dict[str, Any] = {"max_new_tokens": TOKENS, "temperature": 0.7, "seed": 0, "keep_s": KEEP_SECONDS}


class Samples:
    """What two models write, one after the other: a process of its own loads and asks them, and keeps them for a while.

    Args:
        told: gets what the page shows, as plain data, whenever it has changed; None when there is nothing.
    """

    def __init__(self, told: Callable[[dict[str, Any] | None], None]) -> None:
        self._told = told
        self._lock = threading.RLock()
        self._float, self._converted = Writing(self._moved), Writing(self._moved)
        self._asked: dict[str, Any] | None = None
        self._keeps: Conversion | None = None

    def write(self, conversion: Conversion, prompt: str) -> None:
        """Let both continue a text; what they wrote before, or are writing, is given up.

        Raises:
            ConfigError: the text is far too long.
            RunError: the conversion's folder is gone or cannot be written.
        """
        with self._lock:
            self.forget()
            if conversion != self._keeps:
                self.release()
            self._keeps = conversion
            first = conversion.float_model.generate(prompt, **_SAMPLING)
            second = conversion.generate(prompt, **_SAMPLING)
            names = [f"{Path(conversion.request.source).name} (float)", conversion.name]
            self._asked = {"id": conversion.id, "prompt": prompt, "names": names, "most": TOKENS}
            self._float.follow(first)
            self._converted.follow(second)
            self._tell()

    def stop(self) -> None:
        """End both at their next token; what is there stays."""
        with self._lock:
            for each in (self._float, self._converted):
                each.stop()
            self._tell()

    def forget(self) -> None:
        """Stop both, and show nothing."""
        with self._lock:
            for each in (self._float, self._converted):
                each.forget()
            if self._asked is not None:
                self._asked = None
                self._told(None)

    def release(self) -> None:
        """Let the process that holds the models end once it has written what it was asked for."""
        with self._lock:
            held, self._keeps = self._keeps, None
        if held is not None:
            with suppress(RunError):  # it was deleted, and its models with it
                held.release()

    def _moved(self, _: Writing, fresh: bool) -> None:
        with self._lock:
            self._tell()

    def _tell(self) -> None:
        if self._asked is None:
            return
        both = (self._float, self._converted)
        problem = next((each.problem for each in both if each.problem), None)
        names: Sequence[str] = self._asked["names"]
        self._told(
            {
                **{name: self._asked[name] for name in ("id", "prompt", "most")},
                "stage": "writing" if any(each.busy for each in both) else "failed" if problem else "done",
                "stopping": any(each.stopping for each in both),
                "problem": problem,
                "texts": [_text(name, each) for name, each in zip(names, both, strict=True)],
            }
        )


def _text(name: str, writing: Writing) -> dict[str, Any]:
    tokens = writing.tokens
    seconds = sum(token["seconds"] for token in tokens[1:])  # the first one waits for the prompt to be read
    rates = [token["firing_rate"] for token in tokens if token["firing_rate"] is not None]
    return {
        "name": name,
        "state": writing.state,
        "text": "".join(token["text"] for token in tokens),
        "tokens": len(tokens),
        "per_second": (len(tokens) - 1) / seconds if seconds > 0 else None,
        "firing_rate": sum(rates) / len(rates) if rates else None,
    }
