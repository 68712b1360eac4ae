"""`ConvertPanel`: turn a trained language model into a spiking one, watch it, and see what it cost."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import ipywidgets

from darkit_nb.records.conversion import ConversionPlan
from darkit_nb.records.conversion_spec import ConversionSpec
from darkit_nb.records.trace import ModelTrace
from darkit_nb.runs.conversion import Conversion, list_conversions
from darkit_nb.widgets.base import StaticView
from darkit_nb.widgets.convert_desk import ConvertDesk
from darkit_nb.widgets.model_tree import ModelTree


class ConvertPanel(StaticView, ipywidgets.VBox):
    """Choose a model, a pipeline and bits; plan, start, watch, stop, resume; compare what came of them.

        panel = ConvertPanel()                     # the model that comes with the package
        panel = ConvertPanel("my-run", "quarot", "W4A4")
        panel.compare = "rtn", "gptq"              # what would these have given?
        panel.start()
        panel.wait()

    A conversion works in a process of its own and outlives the notebook. The notebook's kernel loads no model.

    Args:
        source: name of a bundled model, a run, a folder, or an id of the hub; None takes the bundled one.
        pipeline: name of a preset of `config.conversions`.
        bits: such as `W4A4`; None takes the preset's own.
        folder: where converted models are put, and looked for.
        runs_dir: where runs are looked up.
        options: of the `ConversionRequest`, such as `windows`, `dataset` or `text`.

    Attributes:
        desk: the panel proper. tree: the model tree below it, once a converted model was opened.
    """

    def __init__(
        self,
        source: str | Path | None = None,
        pipeline: str = "darkit",
        bits: str | None = None,
        *,
        folder: str | Path = "converted",
        runs_dir: str | Path = "runs",
        **options: Any,
    ) -> None:
        self.desk = ConvertDesk(source, pipeline, bits, folder=folder, runs_dir=runs_dir, options=options)
        self.desk.snapshot_parent = self
        self._snapshot_id = self.desk._snapshot_id  # whose front end hides the picture
        self.tree: ModelTree | None = None
        self.desk.opening = self._opening
        super().__init__([self.desk], layout={"margin": "0", "overflow": "visible"})

    def __repr__(self) -> str:
        return self.text()

    # -- what is set up ----------------------------------------------------------------------------------------------

    @property
    def source(self) -> str:
        """What is converted; may be set."""
        return self.desk.source

    @source.setter
    def source(self, source: str | Path) -> None:
        self.desk.source = source

    @property
    def spec(self) -> ConversionSpec | None:
        """What would be done; None while something is wrong."""
        return self.desk.spec

    def choose(self, pipeline: str, bits: str | None = None) -> None:
        """Take a preset, at some bits.

        Raises:
            ConfigError: there is no such preset.
        """
        self.desk.choose(pipeline, bits)

    def set(self, key: str, value: Any) -> None:
        """Change one setting of the preset, such as `set("spike.num_steps", 3)`.

        Raises:
            ConfigError: there is no such setting.
        """
        self.desk.set(key, value)

    @property
    def compare(self) -> tuple[str, ...]:
        """Other pipelines the model is converted with as well, at the same bits, on the same texts; may be set."""
        return self.desk.compare

    @compare.setter
    def compare(self, pipelines: Iterable[str]) -> None:
        self.desk.compare = pipelines

    @property
    def plan(self) -> ConversionPlan | None:
        """What was planned last."""
        return self.desk.plan

    def make_plan(self) -> None:
        """Find out what it will take, in the background.

        Raises:
            DarkitError: something is wrong with the model or the settings.
        """
        self.desk.make_plan()

    # -- what is done ------------------------------------------------------------------------------------------------

    @property
    def conversion(self) -> Conversion | None:
        """The conversion that is shown."""
        return self.desk.conversion

    def start(self) -> Conversion:
        """Start what is set up, in the background; what it is compared with waits for its turn.

        Raises:
            DarkitError: something is wrong with the model or the settings, or it cannot be started.
        """
        return self.desk.start()

    def convert_too(self, *pipelines: str) -> list[Conversion]:
        """Convert the model that is shown with other pipelines, at the same bits and on the same texts, in turn.

        Raises:
            DarkitError: a pipeline that has no such bits, or a folder that cannot be made.
        """
        return self.desk.convert_too(pipelines)

    def wait(self) -> None:
        """Wait until nothing in the folder of the conversion that is shown is at work or waits for its turn.

        Raises:
            RunError: one of them failed or was lost.
        """
        for each in list_conversions(self.desk.models):
            if each.state in ("queued", "starting", "running"):
                each.wait()

    def show(self, conversion: Conversion | str | Path) -> None:
        """Show another conversion: itself, its id, or the folder of its model.

        Raises:
            RunError: there is none.
        """
        self.desk.show(conversion)

    def stop(self) -> None:
        """Ask the conversion that is shown to end; what is done is kept."""
        self.desk.stop()

    def resume(self) -> None:
        """Go on after the last block that was done."""
        self.desk.resume()

    def delete(self, conversion: Conversion | None = None) -> None:
        """Delete a conversion, the one that is shown by default, with its model and everything measured.

        Raises:
            RunError: it is at work, or cannot be removed.
        """
        self.desk.delete(conversion)

    def put_beside(self, reference: str | None) -> None:
        """Say what every other model costs more than one of them, pair by pair over the windows of the text.

        Args:
            reference: pipeline or folder of a converted model; None puts them beside the float one.

        Raises:
            DataError: no model is called so, or several are.
        """
        self.desk.put_beside(reference)

    def close(self) -> None:
        """Stop watching, and remove the widget; conversions go on."""
        self.desk.close()
        super().close()

    # -- without a browser -------------------------------------------------------------------------------------------

    def text(self) -> str:
        """What is set up, and what the conversions came to."""
        return self.desk.text()

    def snapshot(self) -> str:
        """The same as a static page."""
        return self.desk.snapshot()

    def _opening(self, trace: ModelTrace | None) -> None:
        if trace is None:
            self.children = (self.desk,)
            return
        if self.tree is None:
            self.tree = ModelTree()
            self.tree.snapshot_parent = self
        self.tree.show(trace)
        self.children = (self.desk, self.tree)
