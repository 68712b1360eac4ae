"""Editing the model of a run without loading PyTorch: its trace says where classes stand, its trainer edits."""

from __future__ import annotations

import ast
import dataclasses
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from darkit_nb.edit.class_text import attributes_in, classes_in
from darkit_nb.errors import PatchError
from darkit_nb.records.patch import Patch, text_hash
from darkit_nb.records.trace import ModelTrace
from darkit_nb.runs.patching import load_patch
from darkit_nb.runs.run import Run
from darkit_nb.views.edit_report import EditReport, PastEdit
from darkit_nb.widgets.class_file import class_at, file_of_module, module_names
from darkit_nb.widgets.edit_completion import Item, complete
from darkit_nb.widgets.edit_desk import (
    NOTHING_TO_DO,
    Edit,
    EditDesk,
    OpenModule,
    Progress,
    SavedFork,
    as_patch,
    as_saved,
)
from darkit_nb.widgets.edit_settings import Settings
from darkit_nb.widgets.edit_wishes import put_in, refused, take_back, try_out
from darkit_nb.widgets.module_paths import resolve

TRACE_SECONDS = 120.0
_OF_THE_MODEL = ("attention", "include", "exclude")
"""Spike settings that choose modules, and say nothing of one that was chosen."""
_SEEN_IN_CHARTS = ("Before and after are seen on the run's charts, where the edit is marked.",)


class RunDesk(EditDesk):
    """Edits the model of a run while it trains, at a step boundary; the run checks each edit before it takes it.

    Args:
        run: the run.
        trace: what its model looks like, where that is known already.
    """

    kind: Literal["model", "run"] = "run"

    def __init__(self, run: Run, trace: ModelTrace | None = None) -> None:
        self.root, self.name, self._prepared = run, run.name, False
        self._trace, self._traced = trace, self._in_effect() if trace else None

    @property
    def trace(self) -> ModelTrace:
        """Its model as it is now.

        Raises:
            RunError: the run does not answer.
        """
        now = self._in_effect()
        if self._trace is None or self._traced != now:
            self._trace, self._traced = self.root.trace().wait(TRACE_SECONDS).trace(), now
        return self._trace

    def learn(self, trace: ModelTrace) -> None:
        """Somebody else has asked for the trace."""
        self._trace, self._traced = trace, self._in_effect()

    def _in_effect(self) -> tuple[int, ...]:
        return tuple(each.number for each in self.root.patches if each.state == "applied")

    def paths(self) -> Sequence[str]:
        """Dotted paths of all modules."""
        return [node.path for node in self.trace.nodes]

    def open(self, path: str) -> OpenModule:
        """The class of a module.

        Raises:
            ModelError: there is no such module.
            RunError: the run does not answer.
        """
        trace = self.trace
        node = trace.node(resolve(path, [each.path for each in trace.nodes]))
        edits = [each.patch for each in self.history() if not each.reverted and node.path in each.patch.targets]
        codes = [patch for patch in edits if patch.kind == "code"]
        same = tuple(each.path for each in trace.nodes if self._class_of(each) == self._class_of(node))
        if codes:
            first, last = codes[0], codes[-1]
            file = file_of_module(last.module)
            text, original, module, name, line = last.source, first.base, last.module, last.class_name, 0
        else:
            file, module = node.file, node.module
            found = class_at(file, node.line)
            if found is None:
                reason = f"The source of {node.class_name} is not to be found here."
                return OpenModule(path=node.path, class_name=node.class_name, same_class=same, reason=reason)
            name, text, line = found
            original = text
        return OpenModule(
            path=node.path,
            class_name=name,
            module=module,
            file=file or node.file,
            line=line,
            text=text,
            original=original,
            hash=text_hash(text),
            same_class=same,
            names=module_names(file) if file else None,
        )

    def prepare(self) -> None:
        """Have completion read PyTorch's files, which takes seconds the first time on a machine."""
        if not self._prepared:
            self._prepared = True
            text = "import torch\ntorch."
            threading.Thread(target=complete, args=(text, len(text)), name="darkit-jedi", daemon=True).start()

    def complete(self, opened: OpenModule, text: str, at: int) -> tuple[int, list[Item]]:
        """Names that fit at a place of the text."""
        head, tail = _around(opened)
        return complete(text, at, around=(head, tail), own=self._own(opened))

    # -- trying and applying -----------------------------------------------------------------------------------------

    def validate(self, edit: Edit, progress: Progress) -> EditReport:
        """Look the text through, then have the run try it between two steps, as it would before taking it."""
        patch = as_patch(edit)
        if patch.source == patch.base:
            return NOTHING_TO_DO
        problems = self.problems(edit.opened, patch.source)
        report = refused(problems, patch) if problems else try_out(self.root, patch, progress)
        return dataclasses.replace(report, notes=(*report.notes, *_SEEN_IN_CHARTS)) if edit.effect else report

    def apply(self, edit: Edit, progress: Progress) -> EditReport:
        """Send an edit to the run, and wait until it was taken or refused."""
        patch = as_patch(edit)
        if patch.source == patch.base:
            return NOTHING_TO_DO
        problems = self.problems(edit.opened, patch.source)
        report = refused(problems, patch) if problems else put_in(self.root, patch, progress)
        return dataclasses.replace(report, notes=_SEEN_IN_CHARTS) if edit.effect else report

    def settings(self, path: str) -> Settings | None:
        """Spike settings of the first spiking module at or below a path, and all spiking modules there."""
        below = f"{path}." if path else ""
        found = tuple(
            node.path
            for node in (self._trace.nodes if self._trace else ())
            if node.spikes is not None and (node.path == path or node.path.startswith(below))
        )
        spec = self.root.config.spike
        if not found or spec is None:
            return None
        changes: dict[str, Any] = {}
        for each in self.history():
            if each.patch.kind == "spec" and not each.reverted and found[0] in each.patch.targets:
                changes |= each.patch.spec
        values = {
            name: value for name, value in spec.to_dict().items() if name not in ("attention", "include", "exclude")
        }
        return Settings({**values, **changes}, found)

    def apply_spec(self, path: str, changes: Mapping[str, Any], progress: Progress) -> EditReport:
        """Change spike settings at or below a module."""
        found = self.settings(path)
        if found is None:
            raise PatchError(f"Nothing spikes in {path or 'the model'}.", fix="choose a module that fires")
        node = self.trace.node(found.modules[0])
        patch = Patch(
            kind="spec", targets=found.modules, spec=dict(changes), module=node.module, class_name=node.class_name
        )
        return put_in(self.root, patch, progress)

    def revert(self, count: int = 1) -> EditReport:
        """Take the last edits back, at the next step boundary."""
        return take_back(self.root, count)

    def history(self) -> tuple[PastEdit, ...]:
        """Edits that took effect, oldest first."""
        found = []
        for each in self.root.patches:
            if each.state not in ("applied", "reverted"):
                continue
            patch = load_patch(self.root.directory, each.number)
            found.append(
                PastEdit(
                    number=each.number,
                    patch=patch,
                    time=patch.created,
                    step=each.step,
                    reverted=each.state == "reverted",
                    problem=dict(each.problem) if each.problem else None,
                )
            )
        return tuple(found)

    def save_fork(self, name: str) -> SavedFork:
        """Keep the run's configuration and edits under a name."""
        return as_saved(self.root.save_fork(name))

    # -- behind the scenes -------------------------------------------------------------------------------------------

    def _class_of(self, node: Any) -> tuple[str, str, str, int]:
        return node.module, node.class_name, node.file, node.line

    def _own(self, opened: OpenModule) -> Callable[[str], list[Item]]:
        def own(path: str) -> list[Item]:
            whole = ".".join(each for each in (opened.path, path) if each)
            inside = [node for node in self._trace.nodes if node.path] if self._trace else []
            held: list[Item] = [
                (node.path.rpartition(".")[2], "instance", node.class_name, 2)
                for node in inside
                if node.path.rpartition(".")[0] == whole
            ]
            if path:
                return held
            written = {name for each in classes_in(_tree(opened.text)) for name in attributes_in(each).written}
            taken = {item[0] for item in held}
            return [*held, *((name, "instance", "", 1) for name in sorted(written - taken))]

        return own


def _tree(text: str) -> ast.Module:
    try:
        return ast.parse(text)
    except SyntaxError:
        return ast.Module([], [])


def _around(opened: OpenModule) -> tuple[str, str]:
    """The text of the class's file before and after it."""
    try:
        whole = Path(opened.file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return "", ""
    at = whole.find(opened.original)
    return (whole[:at], whole[at + len(opened.original) :]) if at >= 0 else (f"{whole}\n", "")
