"""The editor proper of a `CodeEditor`: what the page shows and asks for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import traitlets
from IPython import get_ipython

from darkit_nb.errors import DarkitError, PatchError
from darkit_nb.views.edit_report import EditReport
from darkit_nb.widgets.base import DarkitWidget, script, style
from darkit_nb.widgets.edit_desk import Edit, EditDesk, OpenModule, Progress
from darkit_nb.widgets.edit_still import EditStill
from darkit_nb.widgets.edit_wire import past_wire, report_wire, source_wire
from darkit_nb.widgets.module_paths import as_python, name_of

_MOST_PATHS = 2000
"""Paths that the page offers by name; any other can be typed."""

_THIS = {"mode": "this", "layers": ""}


class EditPane(DarkitWidget):
    """One open module: its text, what it is for, what came of trying it, and the history.

    Args:
        desk: where edits are made.

    Attributes:
        opened: the open module.
        on_edited: called after the model was changed, on whatever thread did it.
        last_report: what came of the last check, application or revert.
    """

    _esm = script("code_editor")
    _css = style("code_editor")
    _silent = frozenset({"check", "complete"})

    root = traitlets.Dict().tag(sync=True)
    opening = traitlets.Unicode().tag(sync=True)
    source: Any = traitlets.Dict(allow_none=True, default_value=None).tag(sync=True)
    drafts = traitlets.Dict().tag(sync=True)
    checked: Any = traitlets.Dict(allow_none=True, default_value=None).tag(sync=True)
    outcome: Any = traitlets.Dict(allow_none=True, default_value=None).tag(sync=True)
    past = traitlets.List().tag(sync=True)
    target = traitlets.Dict(default_value=_THIS).tag(sync=True)
    measure = traitlets.Bool().tag(sync=True)
    spec: Any = traitlets.Dict(allow_none=True, default_value=None).tag(sync=True)
    fork: Any = traitlets.Dict(allow_none=True, default_value=None).tag(sync=True)

    def __init__(self, desk: EditDesk) -> None:
        self.desk = desk
        self.opened: OpenModule | None = None
        self.on_edited: Callable[[], None] = lambda: None
        self.last_report: EditReport | None = None
        self._progress = Progress()
        super().__init__()
        self.root = {"name": desk.name, "kind": desk.kind, "paths": []}
        if desk.kind == "model":
            self.list_modules()
        self.renew_history()
        self.observe(lambda _: self.refresh_snapshot(), ["drafts", "source", "past"])

    # -- what is open ------------------------------------------------------------------------------------------------

    def list_modules(self) -> None:
        """Tell the page which modules there are."""
        self.root = {**self.root, "paths": list(self.desk.paths())[:_MOST_PATHS]}

    def choose(self, path: str) -> OpenModule:
        """Show the class of a module. What was written of it before and not applied is there again.

        Raises:
            ModelError: there is no such module.
        """
        opened = self.desk.open(path)
        self._show(opened)
        return opened

    @property
    def text_now(self) -> str:
        """What stands in the editor."""
        if self.opened is None:
            return ""
        return self.drafts.get(self.opened.path, self.opened.text)

    def write(self, text: str) -> None:
        """Put another text into the editor.

        Raises:
            PatchError: no module is open.
        """
        opened = self._needed()
        kept = {path: draft for path, draft in self.drafts.items() if path != opened.path}
        self.drafts = kept if text == opened.text else {**kept, opened.path: text}

    def renew_history(self) -> None:
        """Read the history again."""
        self.past = [past_wire(past) for past in self.desk.history()]

    def _show(self, opened: OpenModule) -> None:
        before, self.opened = self.opened, opened
        found = self.desk.settings(opened.path)
        with self.hold_sync():
            if before is None or before.path != opened.path:
                self.target = dict(_THIS)
                self.outcome = self.outcome if self.outcome and self.outcome["state"] == "running" else None
            if self.drafts.get(opened.path) == opened.text:
                self.drafts = {path: text for path, text in self.drafts.items() if path != opened.path}
            self.checked = None
            self.spec = found.form(opened.path) if found else None
            self.source = source_wire(opened, as_python(self._name(), opened.path))

    def _name(self) -> str:
        shell = get_ipython()
        found = name_of(self.desk.root, shell.user_ns) if shell is not None else None
        return found or self.desk.kind

    def _needed(self) -> OpenModule:
        if self.opened is None:
            raise PatchError("No module is open.", fix='editor.path = "model.layers.0.mlp"')
        return self.opened

    # -- what the page asks for --------------------------------------------------------------------------------------

    def do_open(self, path: str) -> None:
        """A module was chosen."""
        self.choose(path)

    def do_check(self, text: str) -> None:
        """Something was typed: look for faults without running it."""
        if self.opened is not None and self.opened.text:
            edited = text != self.opened.text
            found = self.desk.problems(self.opened, text) if edited else []
            if edited:
                self.desk.prepare()
            self.checked = {"path": self.opened.path, "problems": [each.to_dict() for each in found]}

    def do_complete(self, id: int, text: str, at: int) -> None:
        """Names that fit at a place of the text."""
        if self.opened is None:
            return
        start, items = self.desk.complete(self.opened, text, at)
        self.send({"completions": id, "from": start, "items": items})

    def do_validate(self, text: str) -> None:
        """Validate was pressed."""
        self._begin("validate", text)

    def do_apply(self, text: str) -> None:
        """Apply was pressed."""
        self._begin("apply", text)

    def do_cancel(self) -> None:
        """Cancel was pressed."""
        self._progress.cancel()

    def do_revert(self, count: int) -> None:
        """Revert was pressed."""
        self._work("revert", "", lambda progress: self.desk.revert(count))

    def do_spec(self, changes: dict[str, Any]) -> None:
        """Changed settings of neurons are to be applied."""
        opened = self._needed()
        found = self.desk.settings(opened.path)
        if found is None:
            raise PatchError(f"Nothing spikes in {opened.path or 'the model'}.")
        wanted = found.changed(changes)
        self._work("spec", "", lambda progress: self.desk.apply_spec(opened.path, wanted, progress))

    def do_fork(self, name: str) -> None:
        """The edited model is to be kept under a name."""
        saved = self.desk.save_fork(name)
        self.fork = {"name": saved.name, "path": str(saved.path), "patches": saved.patches}

    def do_again(self, number: int) -> None:
        """The text of an earlier edit is to be edited again."""
        past = next((each for each in self.desk.history() if each.number == number), None)
        if past is None or past.patch.kind != "code":
            raise PatchError("There is no such text in the history.", received=f"edit {number}")
        self.choose(past.patch.targets[0])
        self.write(past.patch.source)

    # -- without keeping anybody waiting -----------------------------------------------------------------------------

    def validate(self) -> EditReport:
        """Try what stands in the editor; the model stays as it is.

        Raises:
            PatchError: no module is open, or no such layers.
        """
        return self._run("validate", self.text_now)

    def apply(self) -> EditReport:
        """Try what stands in the editor, and put it into the model.

        Raises:
            PatchError: no module is open, or no such layers.
        """
        return self._run("apply", self.text_now)

    def revert(self, count: int = 1) -> EditReport:
        """Take the last edits back."""
        self._progress = Progress()
        report = self.desk.revert(count)
        self._settle("revert", "", report)
        return report

    def _run(self, doing: str, text: str) -> EditReport:
        self._progress = Progress()
        report = self._action(doing, text)(self._progress)
        self._settle(doing, text, report)
        return report

    def _begin(self, doing: str, text: str) -> None:
        self.write(text)
        self._work(doing, text, self._action(doing, text))

    def _action(self, doing: str, text: str) -> Callable[[Progress], EditReport]:
        opened = self._needed()
        targets = opened.targets(self.target["mode"], self.target["layers"])
        edit = Edit(opened=opened, text=text, targets=targets, effect=self.measure)
        act = self.desk.apply if doing == "apply" else self.desk.validate
        return lambda progress: act(edit, progress)

    def _work(self, doing: str, text: str, act: Callable[[Progress], EditReport]) -> None:
        """Do something on a thread of its own, telling how it goes."""
        if self.outcome is not None and self.outcome["state"] == "running":
            raise PatchError("Something is being done already.", fix="wait for it, or cancel it")
        started = time.time()
        self.outcome = self._outcome(doing, text, started=started)

        def tell(said: str) -> None:
            self.outcome = self._outcome(doing, text, started=started, said=said)

        progress = self._progress = Progress(tell)

        def work() -> None:
            report = self.guard(act, progress)
            if report is None:  # an error, which the widget shows
                self.outcome = None
            else:
                self.guard(self._settle, doing, text, report, progress.cancelled.is_set())

        threading.Thread(target=work, name=f"darkit-{doing}", daemon=True).start()

    def _settle(self, doing: str, text: str, report: EditReport, cancelled: bool = False) -> None:
        self.last_report = report
        changed = report.ok and doing != "validate"
        if changed and doing == "apply" and self.opened is not None:
            self.drafts = {path: draft for path, draft in self.drafts.items() if path != self.opened.path}
        self.renew_history()
        if changed and self.opened is not None:
            self._show(self.desk.open(self.opened.path))
            text = self.opened.text if doing == "apply" else ""
        if changed:  # before it is said to be done: until then nothing else can be begun
            self._progress.tell("Looking at the model again…")
            self.guard(self.on_edited)
        state = "done" if report.ok else "cancelled" if cancelled else "failed"
        self.outcome = {**self._outcome(doing, text, state=state, said=report.title), **report_wire(report)}
        self.refresh_snapshot()

    def _outcome(self, doing: str, text: str, *, state: str = "running", said: str = "", started: float = 0.0) -> Any:
        return {
            "path": self.opened.path if self.opened else "",
            "doing": doing,
            "state": state,
            "said": said,
            "started": started,
            "seconds": None,
            "for_text": text,
            **{name: [] for name in ("problems", "new", "kept", "dropped", "effect", "notes")},
        }

    # -- without a browser -------------------------------------------------------------------------------------------

    def _still(self) -> EditStill:
        try:
            past = tuple(self.desk.history())
        except (DarkitError, OSError):  # it cannot be read now
            past = ()
        return EditStill(name=self.desk.name, opened=self.opened, draft=self.text_now, past=past)

    def text(self) -> str:
        """The open module and what was changed of it."""
        return self._still().text()

    def snapshot(self) -> str:
        """The source, what was changed, and the history, coloured."""
        return self._still().picture() or super().snapshot()
