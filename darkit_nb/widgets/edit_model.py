"""Editing a model of this process. PyTorch is loaded already, and still not imported here."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from darkit_nb.errors import DarkitError, PatchError
from darkit_nb.records.patch import AppliedPatch, Patch, PatchProblem, Validation
from darkit_nb.views.edit_report import EditReport, PastEdit, excerpts
from darkit_nb.views.effect_table import effect_measures
from darkit_nb.widgets.edit_completion import Item, attributes_of, complete
from darkit_nb.widgets.edit_desk import (
    NOTHING_TO_DO,
    Edit,
    EditDesk,
    OpenModule,
    Progress,
    SavedFork,
    as_patch,
    as_saved,
    refusal,
)
from darkit_nb.widgets.edit_settings import Settings
from darkit_nb.widgets.module_paths import resolve

_CANCELLED = EditReport(title="Cancelled; nothing was changed", ok=False)


class ModelDesk(EditDesk):
    """Edits a live model: each edit is tried in a child process, then the module gets its new class.

    Args:
        model: whose modules are edited.
        inputs: what it is tried on, as for `trace_model`; a few tokens by default.
        tokenizer: for a text.
        optimizer: of a training that goes on in this process.
    """

    kind: Literal["model", "run"] = "model"

    def __init__(self, model: Any, inputs: Any = None, *, tokenizer: Any = None, optimizer: Any = None) -> None:
        self.root, self.name = model, type(model).__name__
        self.inputs, self.tokenizer, self.optimizer = inputs, tokenizer, optimizer
        self._names: dict[str, Any] = {}
        self._prepared = False

    def paths(self) -> Sequence[str]:
        """Dotted paths of all modules."""
        return [path for path, _ in self.root.named_modules()]

    def open(self, path: str) -> OpenModule:
        """The class of a module.

        Raises:
            ModelError: there is no such module.
        """
        from darkit_nb.edit.lineage import original_class
        from darkit_nb.edit.source import class_text, find_module, known_globals, module_source
        from darkit_nb.edit.validate import check_facts

        path = resolve(path, self.paths())
        module = find_module(self.root, path)
        try:
            found = module_source(self.root, path)
        except PatchError as error:
            return OpenModule(path=path, class_name=type(module).__name__, reason=error.message)
        self._names = dict(known_globals(type(module)))
        facts = check_facts(module)
        return OpenModule(
            path=path,
            class_name=found.class_name,
            module=found.module,
            file=found.file,
            line=found.line,
            text=found.text,
            original=class_text(original_class(type(module)))[0],
            hash=found.hash,
            same_class=found.same_class,
            names=tuple(facts["known_names"]),
            attributes=tuple(facts["attributes"]),
            parameters=tuple(facts["parameters"]),
        )

    def prepare(self) -> None:
        """Start the process in which edits are tried, which takes a few seconds the first time."""
        from darkit_nb.edit.trial import trial_session

        if not self._prepared:
            self._prepared = True
            threading.Thread(target=trial_session().start, name="darkit-trial", daemon=True).start()

    def complete(self, opened: OpenModule, text: str, at: int) -> tuple[int, list[Item]]:
        """Names that fit at a place of the text."""
        below = f"{opened.path}." if opened.path else ""

        def own(path: str) -> list[Item]:
            return attributes_of(self.root, f"{below}{path}".strip("."))

        return complete(text, at, namespace=self._names, own=own)

    # -- trying and applying -----------------------------------------------------------------------------------------

    def validate(self, edit: Edit, progress: Progress) -> EditReport:
        """Try an edit in a child process."""
        tried = self._tried(edit, progress)
        if isinstance(tried, EditReport):
            return tried
        patch, checked = tried
        title = "Checks passed; the model is as it was" if checked.ok else _refused(checked.problems)
        return self._report(title, patch, checked)

    def apply(self, edit: Edit, progress: Progress) -> EditReport:
        """Try an edit, and swap it into its modules."""
        from darkit_nb.edit.apply import apply

        tried = self._tried(edit, progress)
        if isinstance(tried, EditReport):
            return tried
        patch, checked = tried
        if not checked.ok:
            return self._report(_refused(checked.problems), patch, checked)
        progress.tell("Putting it into the model…")
        try:
            done = apply(self.root, patch, optimizer=self.optimizer, validation=checked)
        except PatchError as error:
            return refusal(error, patch)
        return self._report(f"Edit {done.number} applied to {_counted(patch)}", patch, checked)

    def apply_spec(self, path: str, changes: Mapping[str, Any], progress: Progress) -> EditReport:
        """Change spike settings at or below a module."""
        from darkit_nb.edit.apply import apply
        from darkit_nb.edit.spec_edit import make_spec_patch

        found = self.settings(resolve(path, self.paths()))
        try:
            patch = make_spec_patch(self.root, found.modules if found else path, **changes)
            progress.tell("Trying it…")
            done = apply(self.root, patch, optimizer=self.optimizer)
        except DarkitError as error:
            return refusal(error)
        title = f"Edit {done.number} applied: {', '.join(f'{name} = {value}' for name, value in changes.items())}"
        return EditReport(title=title, ok=True, diff=patch.diff)

    def settings(self, path: str) -> Settings | None:
        """Spike settings of the first spiking module at or below a path, and all modules there with the same ones."""
        from darkit_nb.edit.spec_edit import editable_fields
        from darkit_nb.functional.surrogate import DEFAULT_SURROGATE, SURROGATES, resolve_surrogate

        below = f"{path}." if path else ""
        inside = ((name, each) for name, each in self.root.named_modules() if name == path or name.startswith(below))
        found = {name: fields for name, each in inside if (fields := editable_fields(each))}
        if not found:
            return None
        values = dict(next(iter(found.values())))
        if "surrogate" in values:
            values["surrogate"] = values["surrogate"] or DEFAULT_SURROGATE
            values["alpha"] = resolve_surrogate(values["surrogate"], values["alpha"])[1]
        alike = tuple(name for name, fields in found.items() if set(fields) == set(values))
        return Settings(values, alike, {"surrogate": tuple(SURROGATES), "reset": ("soft", "hard")})

    def revert(self, count: int = 1) -> EditReport:
        """Take the last edits back."""
        from darkit_nb.edit.apply import revert

        try:
            taken = revert(self.root, count=count, optimizer=self.optimizer)
        except PatchError as error:
            return refusal(error)
        return EditReport(title=f"Took back {_edits(taken)}", ok=True)

    def history(self) -> tuple[PastEdit, ...]:
        """Edits that took effect, oldest first."""
        from darkit_nb.edit.apply import history

        return tuple(
            PastEdit(number=each.number, patch=each.patch, time=each.time, step=each.step, reverted=each.reverted)
            for each in history(self.root)
        )

    def save_fork(self, name: str) -> SavedFork:
        """Keep the model it began from and its edits under a name."""
        from darkit_nb.edit.fork import Fork

        return as_saved(Fork.create(name, self.root).save())

    # -- behind the scenes -------------------------------------------------------------------------------------------

    def _tried(self, edit: Edit, progress: Progress) -> tuple[Patch, Validation] | EditReport:
        """The edit as a patch and what its trial found, or why there was no trial, or no end of it."""
        patch = self._patch(edit)
        if isinstance(patch, EditReport):
            return patch
        checked = self._checked(edit, patch, progress)
        return _CANCELLED if progress.cancelled.is_set() else (patch, checked)

    def _patch(self, edit: Edit) -> Patch | EditReport:
        """The edit as a patch, or why it is none. A class that was changed meanwhile is merged, or both are shown."""
        try:
            patch = as_patch(edit)
        except PatchError as error:
            return refusal(error)
        return NOTHING_TO_DO if patch.source == patch.base else patch

    def _checked(self, edit: Edit, patch: Patch, progress: Progress) -> Validation:
        from darkit_nb.edit.trial import trial_session
        from darkit_nb.edit.validate import validate

        progress.tell("Trying it in a process of its own…")
        progress.give_up = trial_session().close
        try:
            return validate(self.root, patch, inputs=self.inputs, tokenizer=self.tokenizer, effect=edit.effect)
        except DarkitError as error:
            return Validation(ok=False, problems=tuple(refusal(error).problems))

    def _report(self, title: str, patch: Patch, checked: Validation) -> EditReport:
        return EditReport(
            title=title,
            ok=checked.ok,
            problems=checked.problems,
            excerpt=excerpts(checked.problems, patch.source),
            new=checked.new,
            kept=checked.kept,
            dropped=checked.dropped,
            effect=effect_measures(checked.effect) if checked.effect else (),
            notes=checked.notes,
            diff=patch.diff,
            seconds=checked.seconds,
        )


def _refused(problems: Sequence[PatchProblem]) -> str:
    return f"Not applied: {len(problems)} problem{'s' * (len(problems) != 1)}"


def _counted(patch: Patch) -> str:
    count = len(patch.targets)
    return f"{patch.targets[0] or 'the model'}" if count == 1 else f"{count} modules"


def _edits(taken: Sequence[AppliedPatch]) -> str:
    numbers = [str(each.number) for each in taken]
    return f"edit {numbers[0]}" if len(numbers) == 1 else f"edits {', '.join(numbers)}"
