"""An edit of a module as plain data: what was there, what is there now, and where. No torch."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import textwrap
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from darkit_nb.errors import PatchError

SCHEMA = 1

PatchKind = Literal["code", "spec"]


def clean_text(text: str) -> str:
    """A source text as patches keep it: not indented, one newline at its end. Its lines keep their numbers."""
    return textwrap.dedent(text.replace("\r\n", "\n")).rstrip() + "\n"


def text_hash(text: str) -> str:
    """The sha256 of a source text, whatever its indentation."""
    return hashlib.sha256(clean_text(text).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Patch:
    """An edit: code of a class, or fields of the spike settings, for some modules of a model.

    Attributes:
        kind: "code" or "spec".
        targets: dotted paths of the modules, at least one; "" is the model itself.
        module: name of the Python module that holds the class.
        class_name: qualified name of the class the edit began from.
        base: source of that class as it was; "" for a spec. A three-way merge begins from it.
        base_hash: its `text_hash`; "" for a spec.
        source: the edited text; "" for a spec.
        spec: changed fields, for a spec.
        note: what the author wants to say about it.
        created: time of making, seconds since 1970.

    Raises:
        PatchError: no target, or a kind that is not known.
    """

    kind: PatchKind
    targets: tuple[str, ...]
    module: str
    class_name: str
    base: str = ""
    base_hash: str = ""
    source: str = ""
    spec: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""
    created: float = field(default_factory=time.time)

    def __post_init__(self) -> None:
        object.__setattr__(self, "targets", tuple(self.targets))
        if self.kind not in ("code", "spec") or not self.targets or isinstance(self.spec, str):
            raise PatchError(
                "This is no patch.",
                expected='kind "code" or "spec", and at least one target',
                received=f"kind={self.kind!r}, targets={self.targets}",
            )
        if self.kind == "code":
            object.__setattr__(self, "base", clean_text(self.base))
            object.__setattr__(self, "source", clean_text(self.source))
            object.__setattr__(self, "base_hash", text_hash(self.base))

    @property
    def id(self) -> str:
        """Twelve hex digits that are the same for the same edit of the same modules."""
        facts = {key: value for key, value in self.to_dict().items() if key not in ("note", "created")}
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def label(self) -> str:
        """What it changes, in a few words: `LlamaMLP in 4 modules`."""
        what = self.class_name if self.kind == "code" else ", ".join(f"{k}={v}" for k, v in self.spec.items())
        where = self.targets[0] or "the model" if len(self.targets) == 1 else f"{len(self.targets)} modules"
        return f"{what} in {where}"

    @property
    def diff(self) -> str:
        """The edit as a unified diff; for a spec, one line a field."""
        if self.kind == "spec":
            return "".join(f"+{name} = {value!r}\n" for name, value in self.spec.items())
        names = f"{self.module}.{self.class_name}", f"{self.module}.{self.class_name} (edited)"
        lines = difflib.unified_diff(self.base.splitlines(True), self.source.splitlines(True), *names)
        return "".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        data = {info.name: getattr(self, info.name) for info in dataclasses.fields(self)}
        return {"schema": SCHEMA, **data, "targets": list(self.targets), "spec": dict(self.spec)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Patch:
        """Read what `to_dict` wrote.

        Raises:
            PatchError: written by a newer version, damaged, or changed by hand so that its base no longer fits.
        """
        facts = dict(data)
        schema = facts.pop("schema", None)
        known = {info.name for info in dataclasses.fields(cls)}
        text = all(isinstance(facts.get(name, ""), str) for name in ("module", "class_name", "base", "source", "note"))
        lists = isinstance(facts.get("targets"), list | tuple) and all(isinstance(t, str) for t in facts["targets"])
        whole = {"kind", "targets", "module", "class_name"} <= set(facts) and isinstance(facts.get("spec", {}), Mapping)
        if not isinstance(schema, int) or schema > SCHEMA or set(facts) - known or not (text and lists and whole):
            raise PatchError(
                "This patch cannot be read.",
                expected=f"a patch of schema {SCHEMA} with the fields {', '.join(sorted(known))}",
                received=f"schema {schema}, fields {', '.join(sorted(map(str, facts)))}",
                cause="it was written by a newer version, or is not a patch",
                fix="pip install --upgrade darkit-nb",
            )
        patch = cls(**facts)
        if facts.get("base_hash") not in (None, patch.base_hash):
            raise PatchError(
                "The base of this patch was changed after it was made.",
                expected=f"a base with the hash {facts['base_hash']}",
                received=patch.base_hash,
                fix="make the patch again from the model",
            )
        return patch

    def to_json(self) -> str:
        """Text of a patch file."""
        return json.dumps(self.to_dict(), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Patch:
        """Read what `to_json` wrote.

        Raises:
            PatchError: not a patch.
        """
        try:
            data = json.loads(text)
        except ValueError as error:
            raise PatchError("This patch is not JSON.", expected="a patch file", received=str(error)) from error
        return cls.from_dict(data if isinstance(data, dict) else {})


@dataclass(frozen=True, kw_only=True)
class PatchProblem:
    """A reason not to take an edit.

    Attributes:
        check: which check failed: "syntax", "names", "class", "signature", "parameters", "import", "forward", ….
        message: one sentence.
        line: line of the edited text, from 1; None where it concerns no line.
        expected, received, cause, fix: as in `DarkitError`.
    """

    check: str
    message: str
    line: int | None = None
    expected: str | None = None
    received: str | None = None
    cause: str | None = None
    fix: str | None = None

    def __str__(self) -> str:
        place = "" if self.line is None else f"line {self.line}: "
        return f"{place}{self.message}"

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, kw_only=True)
class Validation:
    """What checking an edit found.

    Attributes:
        ok: whether it may be applied.
        problems: why not.
        new, kept, dropped: parameters the edit brings, leaves and takes away, by dotted name.
        seconds: time it took.
        effect: measures before and after, where they were asked for.
        notes: what could not be checked here.
    """

    ok: bool
    problems: tuple[PatchProblem, ...] = ()
    new: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    seconds: float = 0.0
    effect: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Validation:
        """Read what `to_dict` wrote."""
        lists = {name: tuple(data.get(name, ())) for name in ("new", "kept", "dropped", "notes")}
        problems = tuple(PatchProblem(**each) for each in data.get("problems", ()))
        return cls(**{**data, **lists, "problems": problems})


@dataclass(frozen=True, kw_only=True)
class AppliedPatch:
    """A patch that was put into a model.

    Attributes:
        patch: what was applied; after a merge, the merged edit.
        number: place in the history of the model, from 1.
        time: when, seconds since 1970.
        reverted: whether it was taken back since.
        step: training step, where one was named.
        new, kept, dropped: parameters it brought, left and took away, by dotted name in the model.
    """

    patch: Patch
    number: int
    time: float
    reverted: bool = False
    step: int | None = None
    new: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            **{info.name: getattr(self, info.name) for info in dataclasses.fields(self)},
            "patch": self.patch.to_dict(),
        }
