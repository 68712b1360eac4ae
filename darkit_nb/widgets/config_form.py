"""`ConfigForm`: every setting of a run as a field, checked while it is typed, with the command that does the same."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import traitlets

from darkit_nb.config import Problem, RunConfig, dump_yaml, from_dict, load_config, yaml_text
from darkit_nb.config.draft import FIELDS, SWITCHES, Draft
from darkit_nb.config.files import changed_keys
from darkit_nb.config.problems import settings_error
from darkit_nb.config.starting_points import starting_point
from darkit_nb.errors import ConfigError
from darkit_nb.runs.files import write_atomic, writing
from darkit_nb.views.config_card import ConfigCard
from darkit_nb.widgets.archive_import import ArchiveImport, weights_of
from darkit_nb.widgets.base import script, style
from darkit_nb.widgets.form_edits import EditedForm
from darkit_nb.widgets.form_layout import form_layout
from darkit_nb.widgets.form_state import form_state, outlook_note, recipes

if TYPE_CHECKING:
    from darkit_nb.runs.run import Run

_MOST_CLICKS = 32


class ConfigForm(EditedForm):
    """Build a run: fields generated from the settings, checked in the kernel, with the command that reproduces it.

    Attributes:
        config: The configuration, or None while something is wrong; assign one to fill the form.
        run_id: Folder of the run started last.
        imported: Folder of the run imported last.

    Args:
        config: What to start from; None takes the defaults.
    """

    _esm = script("config_form")
    _css = style("config_form")

    config: RunConfig | None = traitlets.Instance(RunConfig, allow_none=True)  # type: ignore[assignment]
    run_id = traitlets.Unicode().tag(sync=True)
    imported = traitlets.Unicode().tag(sync=True)
    layout_data = traitlets.Dict().tag(sync=True)
    state = traitlets.Dict().tag(sync=True)
    importing = traitlets.Dict(allow_none=True, default_value=None).tag(sync=True)
    answered = traitlets.List(traitlets.Unicode()).tag(sync=True)

    def __init__(self, config: RunConfig | None = None) -> None:
        self._draft = Draft(config)
        self._before: tuple[str, Draft] | None = None
        self._problems: dict[str, Problem] = {}
        self._clicks: list[str] = []
        self._updating = False
        self._import = ArchiveImport(self._tell_import)
        super().__init__(layout_data=form_layout())
        self._refresh()

    # What Python sees

    @property
    def errors(self) -> dict[str, Problem]:
        """What is wrong, by the key of its field; "" where no single field is meant."""
        return dict(self._problems)

    @property
    def values(self) -> dict[str, Any]:
        """Every setting by its dotted key, acceptable or not; assigning a mapping sets the keys it holds."""
        off = dict.fromkeys(self._draft.off)
        inside = tuple(f"{key}." for key in off)
        return {**{key: value for key, value in self._draft.values.items() if not key.startswith(inside)}, **off}

    @values.setter
    def values(self, changes: Mapping[str, Any]) -> None:
        draft = self._draft.copy()
        for key, value in changes.items():
            draft.set(key, value)
        with self._lock:
            self._draft = draft
            self._refresh()

    def set(self, key: str, value: Any) -> None:
        """Set one setting, such as `form.set("train.steps", 200)`; `form.set("spike", None)` trains in float.

        Raises:
            SettingsError: there is no such setting. A value that does not fit is kept, and shown in `errors`.
        """
        self.values = {key: value}

    def load(self, path: str | Path) -> None:
        """Fill the form from a YAML file.

        Raises:
            ConfigError: it cannot be read, is from a newer version or does not fit; the form stays as it was.
        """
        self._replace(load_config(path), f"loading {Path(path).name}")

    def save(self, path: str | Path) -> Path:
        """Write the configuration as YAML.

        Raises:
            SettingsError: something is wrong with it.
            RunError: the file cannot be written.
        """
        target = Path(path).expanduser()
        with writing(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(target, dump_yaml(self._valid()))
        return target

    def apply(self, name: str) -> None:
        """Take a starting point, such as "first-spikes", "demo" or "ternary".

        Raises:
            ConfigError: there is none of that name, or it changes only the neuron of settings that are not valid.
        """
        point = starting_point(name)
        base = RunConfig(runs_dir=self._text("runs_dir", "runs")) if point.scope == "run" else self._valid()
        self._replace(point.apply(base), point.title)

    def undo(self) -> None:
        """Take back the last starting point, file or reset."""
        with self._lock:
            if self._before is not None:
                self._draft, self._before = self._before[1], None
                self._refresh()

    def start(self, queue: bool = False) -> Run:
        """Start the run, or put it in the queue, as the button does.

        Raises:
            SettingsError: something is wrong with the settings.
            DarkitError: the run cannot be started.
        """
        from darkit_nb.runs.run import train

        run = train(self._valid(), queue=queue)
        self.run_id = str(run.directory.root)
        self._refresh()
        return run

    def text(self) -> str:
        """The settings that differ from the defaults, what is wrong, and the command."""
        return self._card().to_text()

    def snapshot(self) -> str:
        """The same as HTML."""
        return self._card().to_html()

    def _card(self) -> ConfigCard:
        changed = {key: self._draft.texts[key] if key in FIELDS else "null" for key in self._draft.changed}
        shown = {name: text for name, text in recipes(self.config).items() if name in ("Train", "Python")}
        return ConfigCard(changed, self._problems, shown, " · ".join(outlook_note(self.config)["facts"]))

    # What the front end asks for

    def _take(self, each: Mapping[str, Any]) -> None:
        key, text = str(each["key"]), each.get("text")
        if isinstance(text, str):
            self._draft.write(key, text)
        else:
            self._draft.set(key, bool(each["on"]))

    def do_reset(self, keys: list[str]) -> None:
        """Give settings their default again."""
        draft = self._draft.copy()
        for key in keys:
            draft.set(key, True if key in SWITCHES else FIELDS[key].default)
        with self._lock:
            if len(keys) > 1:
                self._before = ("the reset", self._draft)
            self._draft = draft
            self._refresh()

    def do_apply(self, name: str) -> None:
        """Take a starting point."""
        self.apply(name)

    def do_fit(self, settings: str) -> None:
        """Take `key=value` settings that were proposed to make the run fit."""
        self._replace(load_config(None, self._overrides() + settings.split()), "making it fit")

    def _overrides(self) -> list[str]:
        return [f"{key}={yaml_text.inline(value)}" for key, value in changed_keys(self._valid()).items()]

    def do_undo(self) -> None:
        """Take back the last replacement of many settings."""
        self.undo()

    def do_yaml(self, text: str, name: str = "the text") -> None:
        """Fill the form from YAML that was pasted, dropped or chosen."""
        data = yaml_text.parse(text, name)
        if not isinstance(data, dict):
            raise ConfigError(
                f"{name} holds no settings.",
                expected="a mapping such as `train: {steps: 200}`",
                received=f"a {type(data).__name__}" if data is not None else "nothing",
            )
        self._replace(from_dict({str(key): value for key, value in data.items()}), f"loading {name}")

    def do_start(self, click: str, queue: bool = False) -> None:
        """Start once for every click, however often the click arrives."""
        with self._lock:
            if click in self._clicks:
                return
            self._clicks = [*self._clicks[-_MOST_CLICKS:], click]
        try:
            self.start(queue=queue)
        finally:
            self.answered = [*self.answered[-_MOST_CLICKS:], click]

    def do_upload(self, upload: str, name: str, size: int) -> None:
        """Announce an archive."""
        self._import.begin(upload, name, size, self._text("runs_dir", "runs"))

    def do_piece(self, upload: str, offset: int, buffers: list[Any]) -> None:
        """Take the next piece of an archive."""
        self._import.add(upload, offset, memoryview(buffers[0]).cast("B"))

    def do_cancel_upload(self) -> None:
        """Forget the archive."""
        self._import.cancel()

    def do_import_without_pickles(self) -> None:
        """Import the archive again, leaving pickles out."""
        self._import.start(drop_pickles=True)

    def do_use_import(self) -> None:
        """Train from the weights of the imported run."""
        if self._import.run is not None:
            config = self._valid().replace(weights_of(self._import.run))
            self._replace(config, f"using {self._import.run.id}")
            self._import.cancel()

    # Inside

    def _tell_import(self, state: dict[str, Any] | None) -> None:
        self.importing = state
        if state is not None and state["stage"] == "done":
            self.imported = state["run"]

    def _text(self, key: str, otherwise: str) -> str:
        return self._draft.texts[key] if key not in self._problems and self._draft.texts[key] else otherwise

    def _valid(self) -> RunConfig:
        if self.config is None:
            raise settings_error(dict.fromkeys(self._problems.values()))
        return self.config

    def _replace(self, config: RunConfig, what: str) -> None:
        with self._lock:
            draft = self._draft.copy()
            draft.load(config)
            self._before, self._draft = (what, self._draft), draft
            self._refresh()

    @traitlets.observe("config")
    def _assigned(self, change: Any) -> None:
        if self._updating:
            return
        if change["new"] is None:
            self._refresh()
            raise ConfigError(
                "A form cannot be emptied.", expected="a RunConfig", received="None", fix="form.config = RunConfig()"
            )
        self._replace(change["new"], "the assignment")

    def _refresh(self) -> None:
        """Check everything and tell the front end, in one message."""
        with self._lock:
            checked = self._draft.check()
            self._problems = checked.problems
            self._updating = True
            try:
                self.config = checked.config
            finally:
                self._updating = False
            undo = self._before[0] if self._before else None
            self.state = form_state(self._draft, checked, run=self.run_id or None, undo=undo, seen=self._seen)
        self.refresh_snapshot()
