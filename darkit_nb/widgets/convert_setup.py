"""The first page of the conversions' panel: model, preset and settings, checked while they are chosen, and the plan."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import traitlets

from darkit_nb.config.conversion_draft import CheckedSpec, SpecDraft
from darkit_nb.config.conversions import PRESETS, preset
from darkit_nb.config.problems import settings_error
from darkit_nb.errors import DarkitError, ModelError
from darkit_nb.records.bundled import bundled_models
from darkit_nb.records.conversion import ConversionPlan
from darkit_nb.records.conversion_request import ConversionRequest
from darkit_nb.records.conversion_spec import ConversionSpec
from darkit_nb.runs.conversion_queue import alternatives
from darkit_nb.widgets.convert_layout import convert_layout
from darkit_nb.widgets.convert_others import comparable
from darkit_nb.widgets.convert_scoring import SCORING_FIELDS, ScoringDraft, scoring_group
from darkit_nb.widgets.convert_source import ConvertSource, look_at
from darkit_nb.widgets.convert_state import command_line, folder_for, plan_data, python_code, setup_state
from darkit_nb.widgets.form_edits import EditedForm
from darkit_nb.widgets.helper import Helper


class ConvertSetup(EditedForm):
    """Choosing what is converted, and how; planning it.

    Args:
        source: name of a bundled model, a run, a folder, or an id of the hub; None takes a bundled one.
        pipeline: name of the preset.
        bits: such as `W4A4`; None takes the preset's own.
        folder: where converted models are put.
        runs_dir: where runs are looked up.
        options: of the request, such as `windows` or `text`.
    """

    layout_data = traitlets.Dict().tag(sync=True)
    state = traitlets.Dict().tag(sync=True)
    ahead = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        source: str | Path | None = None,
        pipeline: str = "darkit",
        bits: str | None = None,
        *,
        folder: str | Path = "converted",
        runs_dir: str | Path = "runs",
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder, self.runs_dir = Path(folder).expanduser(), Path(runs_dir)
        self._scoring = ScoringDraft(options or {})
        self._text = str(source) if source is not None else next(iter(bundled_models()), "")
        self._found: ConvertSource | DarkitError = ModelError("No model is chosen.")
        self._draft = SpecDraft(pipeline, bits)
        self._checked = self._draft.check()
        self._ticked: tuple[str, ...] = ()
        self._helper: Helper | None = None
        self.plan: ConversionPlan | None = None
        self._planned: str | None = None
        super().__init__(ahead=plan_data("none", None))
        self._look()
        self._lay_out()
        self._refresh()

    # -- what Python sees --------------------------------------------------------------------------------------------

    @property
    def source(self) -> str:
        """What is converted, as it is written in its field; may be set."""
        return self._text

    @source.setter
    def source(self, source: str | Path) -> None:
        with self._lock:
            self._text = str(source)
            self._look()
            self._refresh()

    @property
    def spec(self) -> ConversionSpec | None:
        """What would be done; None while something is wrong."""
        return self._checked.spec

    @property
    def options(self) -> dict[str, Any]:
        """Of the request: what the panel was made with, and what its fields of scoring say."""
        return self._scoring.options

    def choose(self, pipeline: str, bits: str | None = None) -> None:
        """Take a preset, at some bits.

        Raises:
            ConfigError: there is no such preset.
        """
        with self._lock:
            self._draft.choose(pipeline, bits)
            self._lay_out()
            self._refresh()

    def set(self, key: str, value: Any) -> None:
        """Change one setting of the preset, such as `set("spike.num_steps", 3)`; `set("spike", None)` takes spikes out.

        What is scored may be set as well: `set("windows", 16)`.

        Raises:
            ConfigError: there is no such setting.
        """
        with self._lock:
            (self._scoring if key in SCORING_FIELDS else self._draft).set(key, value)
            self._refresh()

    @property
    def compare(self) -> tuple[str, ...]:
        """Other pipelines the model is converted with, at the same bits, on the same texts; may be set."""
        spec = self._checked.spec
        return () if spec is None else tuple(each["name"] for each in comparable(spec, self._ticked) if each["on"])

    @compare.setter
    def compare(self, pipelines: Iterable[str]) -> None:
        pipelines = [pipelines] if isinstance(pipelines, str) else pipelines
        with self._lock:
            self._ticked = tuple(name for name in PRESETS if name in self._known(pipelines))
            self._refresh()

    def request(self) -> ConversionRequest:
        """What would be started now.

        Raises:
            DarkitError: something is wrong with the model or the settings.
        """
        if isinstance(self._found, DarkitError):
            raise self._found
        spec = self._valid()
        return ConversionRequest(source=self._found.name, out=str(self._out(spec)), spec=spec, **self._options())

    def requests(self) -> list[ConversionRequest]:
        """The same, and those it is compared with.

        Raises:
            DarkitError: something is wrong with the model or the settings.
        """
        request = self.request()
        return [request, *alternatives(request, self.compare)]

    def make_plan(self) -> None:
        """Find out what the conversion will take, in a process of its own; `ahead` follows, `plan` holds it then."""
        with self._lock:
            request = self.request()
            if self._helper is not None:
                self._helper.cancel()
            self._planned = _key(request)
            self.ahead = plan_data("planning", self.plan)
            asked = self._planned
            self._helper = Helper(
                [json.dumps(request.to_dict())],
                lambda text, problem: self._hear_plan(asked, text, problem),
                module="darkit_nb.convert.plan_worker",
            )

    # -- what the page asks for --------------------------------------------------------------------------------------

    def _take(self, each: Mapping[str, Any]) -> None:
        key, text = str(each["key"]), each.get("text")
        if key == "source":
            self._text = str(text)
            self._look()
        elif isinstance(text, str):
            (self._scoring if key in SCORING_FIELDS else self._draft).write(key, text)
        else:
            on = bool(each["on"])
            self._draft.set(key, (on or None) if key == "spike" else on)

    def do_reset(self, keys: list[str]) -> None:
        """Give settings the preset's value again."""
        with self._lock:
            for key in keys:
                (self._scoring if key in SCORING_FIELDS else self._draft).reset(key)
            self._refresh()

    def do_choose(self, pipeline: str, bits: str | None = None) -> None:
        """Take a preset."""
        self.choose(pipeline, bits)

    def do_compare(self, pipeline: str, on: bool) -> None:
        """Convert with that pipeline too, or not."""
        others = [name for name in self._ticked if name != pipeline]
        self.compare = [*others, pipeline] if on else others

    def do_plan(self) -> None:
        """Plan."""
        self.make_plan()

    # -- inside ------------------------------------------------------------------------------------------------------

    @staticmethod
    def _known(pipelines: Iterable[str]) -> set[str]:
        found = set(pipelines)
        for name in found:
            preset(name)  # says what there is, and what may have been meant
        return found

    def _valid(self) -> ConversionSpec:
        if self._checked.spec is None:
            raise settings_error(dict.fromkeys(self._checked.problems.values()))
        if self._scoring.problems:
            raise settings_error(self._scoring.problems.values())
        return self._checked.spec

    def _out(self, spec: ConversionSpec) -> Path:
        return folder_for(self.folder, self._text, spec.name)

    def _options(self) -> dict[str, Any]:
        return {"runs_dir": str(self.runs_dir), **self.options}

    def _look(self) -> None:
        try:
            self._found = look_at(self._text, self.runs_dir)
            self._draft.fit(self._found.longest)
        except DarkitError as error:
            self._found = error

    def _lay_out(self) -> None:
        layout = convert_layout(self._draft, self.runs_dir)
        self.layout_data = {**layout, "groups": [*layout["groups"], scoring_group(self._scoring)]}

    def _refresh(self) -> None:
        """Check everything and tell the page, in one message."""
        self._checked = checked = self._draft.check()
        command, python = self._recipes(checked)
        with self.hold_sync():
            self.state = setup_state(
                self._draft,
                checked,
                self._text,
                self._found,
                self._scoring,
                command=command,
                python=python,
                compare=[] if checked.spec is None else comparable(checked.spec, self._ticked),
                seen=self._seen,
            )
            self._age_plan()
        self.refresh_snapshot()

    def _recipes(self, checked: CheckedSpec) -> tuple[str, str]:
        if checked.spec is None or isinstance(self._found, DarkitError) or self._scoring.problems:
            return "", ""
        given = (self._found.name, self._out(checked.spec), self._draft, self.options, self.compare)
        return command_line(*given), python_code(*given)

    def _age_plan(self) -> None:
        """A plan, or why there is none, is that of other settings now; or of these again."""
        if self.ahead["stage"] == "none":
            return
        try:
            same = _key(self.request()) == self._planned
        except DarkitError:
            same = False
        if same:
            if self.ahead["stage"] == "old" and self.plan is not None:
                self.ahead = plan_data("ready", self.plan)
            return
        if self._helper is not None:  # nobody waits for that plan any more
            self._helper.cancel()
            self._helper = None
        self.ahead = plan_data("none" if self.plan is None else "old", self.plan)

    def _hear_plan(self, asked: str, text: str, problem: dict[str, Any] | None) -> None:
        with self._lock:
            if asked != self._planned or self._helper is None:
                return
            self._helper = None
            self.plan = None if problem else ConversionPlan.from_dict(json.loads(text))
            self.ahead = plan_data("failed" if problem else "ready", self.plan, problem)
        self.refresh_snapshot()


def _key(request: ConversionRequest) -> str:
    """The same exactly when the same plan is meant; where the model is put makes none."""
    return json.dumps([request.source, request.spec.to_dict()], sort_keys=True)
