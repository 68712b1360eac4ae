"""`SpikeRaster`: a text's tokens × features of any layer, as spikes."""

from __future__ import annotations

from typing import Any

import traitlets

from darkit_nb.errors import RunError
from darkit_nb.records.snapshot import LayerSpikes, SpikeSnapshot
from darkit_nb.runs.requests import Request
from darkit_nb.views.spike_raster import (
    NEGATIVE_COLOURS,
    SPIKE_COLOURS,
    layer_place,
    raster_html,
    spike_raster,
    token_label,
)
from darkit_nb.widgets.asked import Asked, asked_of, reads_code
from darkit_nb.widgets.base import DarkitWidget, script, style
from darkit_nb.widgets.following import Following

Source = SpikeSnapshot | Asked | Request

CODE_EXAMPLE, PROSE_EXAMPLE = "def hello(name):", "The river was still"


class SpikeRaster(DarkitWidget):
    """See a text spike: one dot for each token and feature, one picture for each spike step.

        SpikeRaster(run)                          # type a sentence into it; a conversion, too
        SpikeRaster(run.probe("def f(x):"))       # what was probed already
        SpikeRaster(capture(model, tokenizer, "def f(x):"))

    Args:
        source: what to show: a snapshot, a run or a conversion to probe, or a request that is being answered.

    Attributes:
        layer: dotted name of the layer shown; may be set and observed.
        source: the `SpikeSnapshot` shown, or None.
    """

    _esm = script("spike_raster")
    _css = style("spike_raster")
    layer = traitlets.Unicode().tag(sync=True)
    layers = traitlets.List(traitlets.Dict()).tag(sync=True)
    tokens = traitlets.List(traitlets.Unicode()).tag(sync=True)
    step: Any = traitlets.Int(allow_none=True, default_value=None).tag(sync=True)
    picture: Any = traitlets.Dict(allow_none=True, default_value=None).tag(sync=True)
    colours = traitlets.Dict().tag(sync=True)
    sentence = traitlets.Unicode().tag(sync=True)
    run_name = traitlets.Unicode().tag(sync=True)
    progress = traitlets.Unicode().tag(sync=True)

    def __init__(self, source: Source | None = None) -> None:
        self.source: SpikeSnapshot | None = None
        self._run: Asked | None = None
        self._following: Following | None = None
        super().__init__(colours=colour_ramps())
        self.observe(lambda _: self._draw(), "layer")
        if isinstance(source, SpikeSnapshot):
            self.show(source)
        elif isinstance(source, Request):
            self._run = asked_of(source)
            self.run_name = self._run.name
            self._follow(source)
        else:
            self.run = source

    # -- what is shown ------------------------------------------------------------------------------------------------

    @property
    def run(self) -> Asked | None:
        """The run that sentences are given to; may be set. Another run starts with an empty raster."""
        return self._run

    @run.setter
    def run(self, run: Asked | None) -> None:
        if run == self._run and run is not None:
            return
        self._stop_following()
        self._run, self.problem = run, None
        self._clear()
        self.run_name = run.name if run else ""
        if run is not None:
            self.sentence = example_sentence(run)

    def show(self, snapshot: SpikeSnapshot) -> None:
        """Show the spikes of a text; the chosen layer stays where there is one of its name."""
        self.source = snapshot
        with self.hold_sync():
            self.picture = None
            self.layers = [_listed(layer) for layer in snapshot.layers]
            self.tokens = [token_label(token) for token in snapshot.tokens]
            self.step, self.sentence = snapshot.step, snapshot.text
            if self.layer not in snapshot.names:
                self.layer = snapshot.names[0] if snapshot.names else ""
            self._draw()

    def probe(self, text: str) -> Request:
        """Give a text to the run and show its spikes as soon as they are there.

        Raises:
            RunError: no run is bound.
        """
        if self._run is None:
            raise RunError(
                "There is no run to give the sentence to.",
                expected="a raster bound to a run",
                received="run = None",
                fix="use SpikeRaster(run), or raster.run = run",
            )
        request = self._run.probe(text)
        self.sentence = text
        self._follow(request)
        return request

    def do_probe(self, text: str) -> None:
        """The sentence field was sent off."""
        self.probe(text)

    # -- behind the scenes --------------------------------------------------------------------------------------------

    @traitlets.validate("layer")
    def _known(self, proposal: Any) -> str:
        if self.source is not None and proposal["value"]:
            self.source.layer(proposal["value"])
        return proposal["value"]

    def _clear(self) -> None:
        self.source = None
        with self.hold_sync():
            self.picture, self.layers, self.tokens, self.step, self.progress = None, [], [], None, ""

    def _draw(self) -> None:
        if self.source is not None and self.layer in self.source.names:
            self.picture = picture_of(self.source.layer(self.layer))
            self.refresh_snapshot()

    def _stop_following(self) -> None:
        if self._following is not None:
            self._following.stop()
            self._following = None

    def _follow(self, request: Request) -> None:
        self._stop_following()
        self.problem, self.progress = None, request.state
        self._following = Following(request, self._moved)

    def _moved(self, request: Request) -> None:
        state = request.state
        if state == "done":
            self.guard(lambda: self.show(request.snapshot()))
        elif state == "failed":
            self.problem = request.problem
        self.progress = state if state in ("waiting", "running") else ""

    # -- without a browser --------------------------------------------------------------------------------------------

    def text(self) -> str:
        """The raster in block characters."""
        if self.source is not None:
            return spike_raster(self.source, self.layer or None)
        if self._run is None:
            return "SpikeRaster: nothing to show yet. Give it a snapshot, or bind it to a run: SpikeRaster(run)."
        return f"SpikeRaster of {self._run.name}: nothing probed yet. Type a sentence, or call .probe(text)."

    def snapshot(self) -> str:
        """The pictures of the chosen layer, for readers without a kernel."""
        return raster_html(self.source, self.layer or None) if self.source is not None else super().snapshot()


def _listed(layer: LayerSpikes) -> dict[str, Any]:
    block, role = layer_place(layer.name)
    return {"name": layer.name, "block": block, "role": role, "rate": layer.firing_rate}


def colour_ramps() -> dict[str, dict[str, list[str]]]:
    """Colours of spikes for the page, by theme."""
    return {
        theme: {"positive": list(SPIKE_COLOURS[theme]), "negative": list(NEGATIVE_COLOURS[theme])}
        for theme in SPIKE_COLOURS
    }


def example_sentence(run: Asked) -> str:
    """A sentence like those a run reads."""
    return CODE_EXAMPLE if reads_code(run) else PROSE_EXAMPLE


def picture_of(layer: LayerSpikes) -> dict[str, Any]:
    """A layer as the page draws it; arrays as bytes."""
    salient = b"" if layer.salient is None else layer.salient.astype("uint8").tobytes()
    return {
        "name": layer.name,
        "tokens": layer.tokens,
        "features": layer.features,
        "heads": layer.heads,
        "steps": layer.steps,
        "levels": layer.num_levels,
        "cap": layer.cap,
        "coding": layer.coding,
        "signed": layer.signed,
        "rate": layer.firing_rate,
        "dtype": layer.counts.dtype.name,
        "counts": layer.counts.tobytes(),
        "membrane": layer.membrane.tobytes(),
        "scale": layer.scale.tobytes(),
        "zero": layer.zero_point.tobytes(),
        "salient": salient,
    }
