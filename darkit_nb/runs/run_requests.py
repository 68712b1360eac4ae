"""What a `Run` or a `Conversion` is asked for: spikes of a text, text, the tree of its modules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from darkit_nb.runs.directory import RunDirectory
from darkit_nb.runs.requests import Request, RequestKind, ask, release

SOURCE = "source"
"""Argument of a request that is for the model a conversion began with."""


class AskableRun:
    """The part of a `Run`, or of a `Conversion` that has made its model, that asks the model.

    Attributes:
        directory: the run's folder.
    """

    directory: RunDirectory

    def _ask(self, kind: RequestKind, arguments: Mapping[str, Any]) -> Request:
        return ask(self.directory, kind, arguments)

    def probe(self, text: str, *, layers: Sequence[str] | None = None) -> Request:
        """Ask for the spikes of a text: of the live trainer at its next step, or of the last checkpoint.

        Args:
            text: what the model reads.
            layers: dotted names of the layers to keep, or patterns such as `*.mlp.*`; all by default.

        Raises:
            ConfigError: the text is far too long.
            RunError: the run's folder cannot be written.
        """
        return self._ask("probe", {"text": text, "layers": None if layers is None else list(layers)})

    def generate(
        self,
        prompt: str,
        *,
        max_new_tokens: int = 64,
        temperature: float = 0.8,
        top_k: int = 0,
        top_p: float = 0.95,
        seed: int | None = None,
        keep_s: float = 0.0,
    ) -> Request:
        """Ask for text that follows a prompt, of the live trainer at its next step, or of the last checkpoint.

        Args:
            prompt: text to continue.
            max_new_tokens: how many tokens at most.
            temperature: 0 takes the most likely token; 1 samples from the model's own distribution.
            top_k: only the k most likely tokens; 0 takes all.
            top_p: only the smallest set of tokens with this probability together.
            seed: of the sampling; None draws differently every time.
            keep_s: how long a process that was started to answer keeps the model in memory, for what is asked next;
                half a minute at least, ten minutes at most.

        Raises:
            ConfigError: the prompt is far too long.
            RunError: the run's folder cannot be written.
        """
        sampling = {"max_new_tokens": max_new_tokens, "temperature": temperature, "top_k": top_k, "top_p": top_p}
        return self._ask("generate", {"prompt": prompt, **sampling, "seed": seed, "keep_s": keep_s})

    def release(self) -> None:
        """Let the process that was started to answer end now, and give its memory back; a trainer trains on.

        Raises:
            RunError: the run's folder cannot be written.
        """
        release(self.directory)

    def trace(self, text: str | None = None, *, timing: bool = False, memory: bool = False) -> Request:
        """Ask for the tree of its modules, with how they fire on a text: of the live trainer at its next step, or of
        the last checkpoint. `run.trace().wait().trace()` is the `ModelTrace`.

        Args:
            text: what the model reads; a sentence of ours by default.
            timing: also measure seconds, by further forwards.
            memory: also measure the memory of activations, by a further forward.

        Raises:
            ConfigError: the text is far too long.
            RunError: the run's folder cannot be written.
        """
        return self._ask("trace", {"text": text, "timing": timing, "memory": memory})


class AskableSource(AskableRun):
    """The float model that a conversion began with, asked in the folder of the conversion.

    Args:
        directory: folder of the conversion.
    """

    def __init__(self, directory: RunDirectory) -> None:
        self.directory = directory

    def _ask(self, kind: RequestKind, arguments: Mapping[str, Any]) -> Request:
        return super()._ask(kind, {**arguments, SOURCE: True})
