"""What the page of a model tree asks of the kernel about one module: source, spikes, parameters, dataflow."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, Literal

import traitlets

from darkit_nb.errors import DarkitError, ModelError
from darkit_nb.records.snapshot import SpikeSnapshot
from darkit_nb.runs.requests import Request
from darkit_nb.views.spike_raster import token_label
from darkit_nb.widgets.base import DarkitWidget, problem_of
from darkit_nb.widgets.edit_cell import patch_cell
from darkit_nb.widgets.following import Following
from darkit_nb.widgets.spike_raster import colour_ramps, example_sentence, picture_of
from darkit_nb.widgets.tree_follow import FollowedRun
from darkit_nb.widgets.tree_subject import Subject

Side = Literal["before", "after"]


class AnsweringTree(DarkitWidget):
    """Answers about the modules of one or two models, one at a time: the traits hold the last answer of each kind."""

    source: Any = traitlets.Dict(allow_none=True, default_value=None).tag(sync=True)
    flow: Any = traitlets.Dict(allow_none=True, default_value=None).tag(sync=True)
    raster: Any = traitlets.Dict(allow_none=True, default_value=None).tag(sync=True)
    parameters: Any = traitlets.Dict(allow_none=True, default_value=None).tag(sync=True)
    colours = traitlets.Dict().tag(sync=True)

    def __init__(self) -> None:
        self._after: Subject | None = None
        self._before: Subject | None = None
        self._followed: FollowedRun | None = None
        self._probe: Following | None = None
        self._lock = threading.RLock()
        super().__init__(colours=colour_ramps())

    def do_source(self, path: str, side: Side = "after") -> None:
        """Send the text of a module's class."""
        self.source = {"path": path, "side": side, **self._subject(side).source(path)}

    def do_flow(self, path: str, side: Side = "after") -> None:
        """Send the drawing of what happens inside a module."""
        self._answer("flow", path, side, lambda: {"svg": self._subject(side).flow_svg(path)})

    def do_raster(self, path: str, side: Side = "after") -> None:
        """Send the spikes of a module; those of a run are asked of it and come later."""
        if self._followed is not None:
            self._probe_run(self._followed, path)
        else:
            self._answer("raster", path, side, lambda: _spikes(self._subject(side).spikes(path)))

    def do_parameters(self, path: str, side: Side = "after") -> None:
        """Send what the numbers in a module's parameters look like."""
        self._answer("parameters", path, side, lambda: {"rows": self._subject(side).parameters(path)})

    def do_edit_module(self, path: str) -> None:
        """Send the cell in which a module can be edited."""
        root = self._followed.run if self._followed is not None else self._subject().model
        self.send({"insert_cell": patch_cell(root, path, self._after.trace if self._after else None)})

    def _answer(self, name: str, path: str, side: Side, make: Callable[[], Mapping[str, Any]]) -> None:
        try:
            found = make()
        except DarkitError as error:
            found = {"problem": problem_of(error)}
        self.set_trait(name, {"path": path, "side": side, **found})

    def flow_svg(self, path: str = "") -> str:
        """The dataflow among the submodules of one module, as a drawing.

        Raises:
            ModelError: only a trace is shown, or there is no such module, or it never ran.
        """
        return self._subject().flow_svg(path)

    def _subject(self, side: str = "after") -> Subject:
        subject = self._before if side == "before" else self._after
        if subject is None:
            raise ModelError("There is no model in this tree yet.", fix="tree.show(model, inputs)")
        return subject

    def _probe_run(self, followed: FollowedRun, path: str) -> None:
        self._forget_probe()
        request = followed.run.probe(example_sentence(followed.run), layers=[path])
        self._probe = Following(request, lambda answer: self._probed(followed, path, answer))

    def _probed(self, followed: FollowedRun, path: str, request: Request) -> None:
        state = request.state
        with self._lock:
            if followed is not self._followed or state not in ("done", "failed"):
                return
            self._answer("raster", path, "after", lambda: _spikes(request.wait(0).snapshot()))

    def _forget_probe(self) -> None:
        if self._probe is not None:
            self._probe.stop()
        self._probe = None

    def _forget_answers(self) -> None:
        self.source = self.flow = self.raster = self.parameters = None


def _spikes(snapshot: SpikeSnapshot) -> dict[str, Any]:
    return {
        "picture": picture_of(snapshot.layers[0]),
        "tokens": [token_label(token) for token in snapshot.tokens],
        "step": snapshot.step,
    }
