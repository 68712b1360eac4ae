"""One way to edit a module, of a model in this process or of a training run: read, check, apply, take back."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from darkit_nb.edit.static_check import static_problems
from darkit_nb.errors import DarkitError, PatchError
from darkit_nb.records.patch import Patch, PatchProblem
from darkit_nb.runs.run import Run
from darkit_nb.views.edit_report import EditReport, PastEdit, excerpts
from darkit_nb.widgets.edit_completion import Item
from darkit_nb.widgets.edit_settings import Settings
from darkit_nb.widgets.module_paths import is_model, layer_range, same_place


@dataclass(frozen=True, kw_only=True)
class OpenModule:
    """A module whose class is being read or edited.

    Attributes:
        path: dotted path in the model.
        class_name, module: of its class, and where that is imported from.
        file, line: where the text stands; line 0 where it is an edited one that stands in no line of the file.
        text: the class as it is now.
        original: the class before any edit.
        hash: of the text.
        same_class: paths of all modules of this class.
        names: names the text can use besides its own and the built-in ones; None where they are not all known.
        attributes: what an instance has; empty where that is not known.
        parameters: dotted names of its parameters and buffers; empty where they are not known.
        reason: why there is no text.
    """

    path: str
    class_name: str
    module: str = ""
    file: str = ""
    line: int = 0
    text: str = ""
    original: str = ""
    hash: str = ""
    same_class: tuple[str, ...] = ()
    names: tuple[str, ...] | None = None
    attributes: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    reason: str = ""

    def targets(self, mode: str, layers: str = "") -> tuple[str, ...]:
        """The modules an edit is for: "this" one, all of its "class", or some "layers".

        Raises:
            PatchError: no such layers.
        """
        if mode == "class":
            return self.same_class or (self.path,)
        return layer_range(layers, self.path, self.same_class) if mode == "layers" else (self.path,)

    @property
    def layers(self) -> tuple[int, int] | None:
        """First and last layer that has a module of this class at the same place; None where there is one or none."""
        found = same_place(self.path, self.same_class)
        return (found[0][0], found[-1][0]) if len(found) > 1 else None


@dataclass(frozen=True, kw_only=True)
class Edit:
    """What somebody wants changed.

    Attributes:
        opened: the module it was read from.
        text: the edited class.
        targets: paths of the modules it is for.
        note: what the author says about it.
        effect: whether to measure before and after.
    """

    opened: OpenModule
    text: str
    targets: tuple[str, ...]
    note: str = ""
    effect: bool = False


@dataclass
class Progress:
    """Where whoever works says what they do, and learns that nobody wants it any more."""

    tell: Callable[[str], None] = lambda said: None
    cancelled: threading.Event = field(default_factory=threading.Event)
    give_up: Callable[[], object] = lambda: None
    """Ends what is going on, where that can be ended."""

    def cancel(self) -> None:
        """Nobody wants it any more."""
        self.cancelled.set()
        self.give_up()


@dataclass(frozen=True)
class SavedFork:
    """A fork that was written: its name, its folder, how many edits it holds."""

    name: str
    path: Path
    patches: int


NOTHING_TO_DO = EditReport(title="The module has this text already", ok=True)


class EditDesk(ABC):
    """Where the modules of one model are edited.

    Attributes:
        root: the model or run.
        name: of it, in a few letters.
    """

    kind: Literal["model", "run"]
    root: Any
    name: str

    @abstractmethod
    def paths(self) -> Sequence[str]:
        """Dotted paths of all modules."""

    @abstractmethod
    def open(self, path: str) -> OpenModule:
        """The class of a module.

        Raises:
            DarkitError: there is no such module.
        """

    @abstractmethod
    def prepare(self) -> None:
        """Somebody has begun to write: get ready to try it. Returns at once."""

    @abstractmethod
    def complete(self, opened: OpenModule, text: str, at: int) -> tuple[int, list[Item]]:
        """Names that fit at a place of the text."""

    def problems(self, opened: OpenModule, text: str) -> list[PatchProblem]:
        """What is wrong with a text, seen without running it; in milliseconds."""
        found = static_problems(
            text,
            opened.text,
            opened.names or (),
            class_name=opened.class_name.rpartition(".")[2],
            attributes=opened.attributes,
            parameters=opened.parameters,
        )
        return [each for each in found if opened.names is not None or each.check != "names"]

    @abstractmethod
    def validate(self, edit: Edit, progress: Progress) -> EditReport:
        """Try an edit without changing anything."""

    @abstractmethod
    def apply(self, edit: Edit, progress: Progress) -> EditReport:
        """Try an edit, and put it into the model."""

    @abstractmethod
    def settings(self, path: str) -> Settings | None:
        """Spike settings at or below a module; None where nothing spikes."""

    @abstractmethod
    def apply_spec(self, path: str, changes: Mapping[str, Any], progress: Progress) -> EditReport:
        """Change spike settings at or below a module."""

    @abstractmethod
    def revert(self, count: int = 1) -> EditReport:
        """Take the last edits back."""

    @abstractmethod
    def history(self) -> tuple[PastEdit, ...]:
        """Edits that took effect, oldest first."""

    @abstractmethod
    def save_fork(self, name: str) -> SavedFork:
        """Keep the model it began from and its edits under a name."""


def desk_of(root: Any, inputs: Any = None, *, tokenizer: Any = None, optimizer: Any = None) -> EditDesk:
    """The desk of a model or run.

    Args:
        root: the model, or the run.
        inputs: what a model is tried on, as for `trace_model`; a few tokens by default.
        tokenizer: for a text.
        optimizer: of a training of the model that goes on in this process.

    Raises:
        PatchError: it is neither.
    """
    if isinstance(root, Run):
        from darkit_nb.widgets.edit_run import RunDesk

        return RunDesk(root)
    if not is_model(root):
        raise PatchError(
            "Only models and runs can be edited.",
            expected="a model of PyTorch, or a Run",
            received=type(root).__name__,
            fix="for a finished run: model = dk.load_model(run.latest_checkpoint())",
        )
    from darkit_nb.widgets.edit_model import ModelDesk

    return ModelDesk(root, inputs, tokenizer=tokenizer, optimizer=optimizer)


def refusal(error: DarkitError, patch: Patch | None = None) -> EditReport:
    """An error as a report."""
    line = getattr(error, "line", None)
    parts = {name: getattr(error, name) for name in ("expected", "received", "cause", "fix")}
    problem = PatchProblem(check="apply", message=error.message, line=line, **parts)
    return EditReport(
        title="Nothing was changed",
        ok=False,
        problems=[problem],
        excerpt=excerpts([problem], patch.source) if patch else {},
        diff=patch.diff if patch else "",
    )


def as_saved(fork: Any) -> SavedFork:
    """What there is to tell of a fork that was saved."""
    return SavedFork(fork.name, Path(fork.folder), len(fork.in_effect))


def as_patch(edit: Edit) -> Patch:
    """The edit as a patch."""
    opened = edit.opened
    return Patch(
        kind="code",
        targets=edit.targets,
        module=opened.module,
        class_name=opened.class_name,
        base=opened.text,
        source=edit.text,
        note=edit.note,
    )
