"""`GenerateBox`: let a run write, and see what every token took."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import traitlets

from darkit_nb.errors import ConfigError, RunError
from darkit_nb.runs.requests import Request
from darkit_nb.views.generated_text import generated_html, generated_text
from darkit_nb.views.spike_raster import SPIKE_COLOURS, token_label
from darkit_nb.widgets.asked import Asked, reads_code
from darkit_nb.widgets.base import DarkitWidget, script, style
from darkit_nb.widgets.writing import Writing

MAX_TOKENS = 2048

_SETTINGS: dict[str, Any] = {
    "max_new_tokens": int,
    "temperature": (int, float),
    "top_k": int,
    "top_p": (int, float),
    "seed": int,
}


class GenerateBox(DarkitWidget):
    """Prompt, sampling settings, and the tokens as they come, each with its firing rate and energy.

    A training run answers between two steps, a finished one through a short-lived process of its own.

        GenerateBox(run)
        GenerateBox(panel.conversion)      # with a converted model

    Args:
        run: the run, or the conversion, to write with.

    Attributes:
        prompt: text to continue; may be set, as the settings below.
        max_new_tokens, temperature, top_k, top_p, seed: how tokens are chosen, as in `Run.generate`.
    """

    _esm = script("generate_box")
    _css = style("generate_box")
    run_name = traitlets.Unicode().tag(sync=True)
    prompt = traitlets.Unicode().tag(sync=True)
    max_new_tokens = traitlets.Int(64).tag(sync=True)
    temperature = traitlets.Float(0.8).tag(sync=True)
    top_k = traitlets.Int(0).tag(sync=True)
    top_p = traitlets.Float(0.95).tag(sync=True)
    seed: Any = traitlets.Int(allow_none=True, default_value=None).tag(sync=True)
    progress = traitlets.Unicode().tag(sync=True)
    stopping = traitlets.Bool().tag(sync=True)
    said: Any = traitlets.Dict(allow_none=True, default_value=None).tag(sync=True)
    ramps = traitlets.Dict().tag(sync=True)

    def __init__(self, run: Asked | None = None) -> None:
        self._run: Asked | None = None
        self._writing = Writing(self._moved)
        self._asked_prompt = ""
        super().__init__(ramps={theme: list(ramp) for theme, ramp in SPIKE_COLOURS.items()})
        self.run = run

    # -- what it does -------------------------------------------------------------------------------------------------

    @property
    def tokens(self) -> list[dict[str, Any]]:
        """What was generated, a dict for each token."""
        return self._writing.tokens

    @property
    def run(self) -> Asked | None:
        """The run that writes; may be set. Another run starts with an empty page."""
        return self._run

    @run.setter
    def run(self, run: Asked | None) -> None:
        if run == self._run and run is not None:
            return
        self._forget()
        self._run, self.problem, self.progress, self.stopping = run, None, "", False
        self.run_name = run.name if run else ""
        if run is not None and not self.prompt:
            self.prompt = "def " if reads_code(run) else "The "

    def generate(self, prompt: str | None = None) -> Request:
        """Continue `prompt`, or the text in the prompt field.

        Raises:
            RunError: no run is bound, or it cannot be written to.
            ConfigError: a setting out of its range.
        """
        if self._run is None:
            raise RunError(
                "There is no run to write with.",
                expected="a box bound to a run",
                received="run = None",
                fix="use GenerateBox(run), or box.run = run",
            )
        if prompt is not None:
            self.prompt = prompt
        self._check()
        self._forget()
        self._asked_prompt = self.prompt
        request = self._run.generate(self.prompt, **self._settings())
        self.problem, self.stopping, self.progress = None, False, "waiting"
        self._writing.follow(request)
        return request

    def stop(self) -> None:
        """End the generation at its next token; what is there stays."""
        self._writing.stop()
        self.stopping = self._writing.stopping

    def do_generate(self, prompt: str, settings: dict[str, Any]) -> None:
        """Generate was pressed, with what stands in the fields."""
        for name, kind in _SETTINGS.items():
            value = settings.get(name)
            if not (isinstance(value, kind) or (value is None and name == "seed")):
                raise ConfigError(
                    f"{name} is not a number that fits.",
                    expected="a number" if kind == (int, float) else "a whole number",
                    received="nothing" if value is None else repr(value),
                    fix=f"type one into the field of {name}",
                )
        self.set_trait("prompt", prompt)
        for name in _SETTINGS:
            self.set_trait(name, settings.get(name))
        self.generate()

    def do_stop(self) -> None:
        """Stop was pressed."""
        self.stop()

    # -- behind the scenes --------------------------------------------------------------------------------------------

    def _settings(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _SETTINGS}

    def _check(self) -> None:
        limits = (
            ("max_new_tokens", 1 <= self.max_new_tokens <= MAX_TOKENS, f"1 to {MAX_TOKENS}"),
            ("temperature", self.temperature >= 0 and math.isfinite(self.temperature), "0 or more"),
            ("top_k", self.top_k >= 0, "0 (all tokens) or more"),
            ("top_p", 0 < self.top_p <= 1, "above 0, up to 1"),
        )
        for name, fits, expected in limits:
            if not fits:
                raise ConfigError(
                    f"{name} is out of range.",
                    expected=expected,
                    received=str(getattr(self, name)),
                    fix=f"set {name} to a value in its range",
                )

    def _forget(self) -> None:
        self._writing.forget()
        self.said = None

    def _moved(self, writing: Writing, fresh: bool) -> None:
        if fresh:
            self.said = _columns(self._asked_prompt, writing.tokens)
            self.refresh_snapshot()
        if writing.problem:
            self.problem = writing.problem
        self.progress = writing.state if writing.busy else ""
        self.stopping = writing.stopping

    # -- without a browser --------------------------------------------------------------------------------------------

    def text(self) -> str:
        """What was written, and what it took."""
        if self.tokens:
            return generated_text(self._asked_prompt, self.tokens)
        if self._run is None:
            return "GenerateBox: no run yet. Bind it to one: GenerateBox(run)."
        return f"GenerateBox of {self._run.name}: nothing generated yet. Press Generate, or call .generate(prompt)."

    def snapshot(self) -> str:
        """The text with a colour under each token, for readers without a kernel."""
        return generated_html(self._asked_prompt, self.tokens) if self.tokens else super().snapshot()


def _columns(prompt: str, tokens: list[dict[str, Any]]) -> dict[str, Any]:
    def numbers(name: str) -> bytes:
        values = [token[name] for token in tokens]
        return np.array([math.nan if value is None else value for value in values], np.float64).tobytes()

    return {
        "prompt": prompt,
        "texts": [token["text"] for token in tokens],
        "labels": [token_label(token["text"]) for token in tokens],
        "firing_rate": numbers("firing_rate"),
        "energy_pj": numbers("energy_pj"),
        "unary_events": numbers("unary_events"),
        "seconds": numbers("seconds"),
    }
