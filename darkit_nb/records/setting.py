"""One setting: what it accepts and what it is for. Records carry theirs on their fields, where forms read them."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from numbers import Integral, Real
from typing import Any, Literal, Union

from darkit_nb.records.problem import Problem, shown

_PHRASES = {
    "integer": "an integer",
    "number": "a number",
    "list": "a list of text",
    "mapping": "a mapping",
    "section": "a mapping of settings",
    "entry": "a number, text, true, false or null",
}
_NUMBERS: dict[str, type] = {"integer": Integral, "number": Real}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What one dotted key accepts; forms, `--help` and error messages read it.

    Attributes:
        key: Dotted key such as `train.steps`.
        kind: `integer`, `number`, `true/false`, `text`, `choice`, `list`, `mapping`, `section`; `entry` of a mapping.
        nullable: Whether `null` is accepted.
        default: Default value as plain data.
        description: One sentence for people.
        choices: Accepted values of a `choice`.
        minimum, maximum: Limits of a number, inclusive unless the matching `exclusive_` flag is set.
        label: What its field is called in a form.
        unit: What a number counts or measures, where the label does not say it.
        group: The group of a form it stands in, where the record names one.
    """

    key: str
    kind: str
    nullable: bool
    default: Any
    description: str
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    exclusive_minimum: bool = False
    exclusive_maximum: bool = False
    label: str = ""
    unit: str = ""
    group: str = ""

    @property
    def limits(self) -> str:
        """The range of a number in a few signs: `1 … 64`, `≥ 1`, `> 0, ≤ 10`; empty where there is none."""
        low, high = self.minimum, self.maximum
        if low is not None and high is not None and not self.exclusive_minimum and not self.exclusive_maximum:
            return f"{_plain(low)} … {_plain(high)}"
        parts = [] if low is None else [f"{'>' if self.exclusive_minimum else '≥'} {_plain(low)}"]
        parts += [] if high is None else [f"{'<' if self.exclusive_maximum else '≤'} {_plain(high)}"]
        return ", ".join(parts)

    @property
    def expected(self) -> str:
        """What is accepted, as a phrase."""
        text = f"one of {', '.join(self.choices)}" if self.choices else _PHRASES.get(self.kind, self.kind)
        low = None if self.minimum is None else f"{'>' if self.exclusive_minimum else '≥'} {self.minimum}"
        high = None if self.maximum is None else f"{'<' if self.exclusive_maximum else '≤'} {self.maximum}"
        if low or high:
            text += f" {' and '.join(filter(None, (low, high)))}"
        return f"{text}, or null" if self.nullable else text

    def accepts(self, value: Any) -> bool:
        """Whether a value is of its kind and inside its limits."""
        if value is None:
            return self.nullable
        if self.choices:
            return isinstance(value, str) and value in self.choices
        if self.kind == "true/false":
            return isinstance(value, bool)
        if self.kind == "list":
            return isinstance(value, list | tuple) and all(isinstance(each, str) for each in value)
        if self.kind == "section":
            return isinstance(value, Mapping) or dataclasses.is_dataclass(value)
        if self.kind not in _NUMBERS:
            return True
        if isinstance(value, bool) or not isinstance(value, _NUMBERS[self.kind]):
            return False
        low, high = self.minimum, self.maximum
        above = low is None or (value > low if self.exclusive_minimum else value >= low)
        below = high is None or (value < high if self.exclusive_maximum else value <= high)
        return math.isfinite(value) and above and below

    def misfit(self, value: Any) -> Problem | None:
        """What is wrong with a value by itself."""
        if self.accepts(value):
            return None
        what = shown(value)
        return Problem(
            key=self.key,
            message=f"{self.key} cannot be {what}.",
            expected=self.expected,
            received=what,
            fix=self.description or None,
        )


def _plain(number: float) -> str:
    return f"{number:,.0f}".replace(",", " ") if float(number).is_integer() else f"{number:g}"


_KINDS = {
    int: "integer",
    float: "number",
    bool: "true/false",
    str: "text",
    list: "list",
    tuple: "list",
    dict: "mapping",
}


def unwrap(annotation: Any) -> tuple[Any, bool]:
    """Strip `Annotated` and `| None`; returns the bare annotation and whether null is accepted."""
    if typing.get_origin(annotation) is typing.Annotated:
        return unwrap(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (Union, types.UnionType):
        members = [member for member in typing.get_args(annotation) if member is not type(None)]
        nullable = len(members) < len(typing.get_args(annotation))
        if len(members) == 1:
            return unwrap(members[0])[0], nullable
        return Union[tuple(members)], nullable  # noqa: UP007 - built at run time
    return annotation, False


def setting_of(key: str, annotation: Any, default: Any, about: Mapping[str, Any]) -> Setting:
    """The setting of a field.

    Args:
        key: dotted key.
        annotation: its type, also with `| None`.
        default: its default.
        about: `description`, `ge`, `gt`, `le`, `lt`, `title` and `json_schema_extra`, as far as they are given.
    """
    bare, nullable = unwrap(annotation)
    origin = typing.get_origin(bare)
    choices = tuple(map(str, typing.get_args(bare))) if origin is Literal else ()
    exclusive = {"gt": "exclusive_minimum", "lt": "exclusive_maximum"}
    leaf = key.rpartition(".")[2].replace("_", " ")
    return Setting(
        key=key,
        kind="choice" if choices else _KINDS.get(origin or bare, "section"),
        nullable=nullable,
        default=list(default) if isinstance(default, tuple) else default,
        description=about.get("description") or "",
        choices=choices,
        minimum=about.get("ge", about.get("gt")),
        maximum=about.get("le", about.get("lt")),
        label=about.get("title") or leaf[0].upper() + leaf[1:],
        **{flag: True for name, flag in exclusive.items() if name in about},
        **about.get("json_schema_extra") or {},
    )


def described(
    default: Any, description: str, *, label: str = "", unit: str = "", group: str = "", **limits: Any
) -> Any:
    """Dataclass field that carries what a form, a message and a schema say of it, in the words pydantic reads.

    Args:
        default: its default.
        description: one or two sentences for people who meet it for the first time.
        label: what its field is called; its name, if not given.
        unit: what a number counts or measures.
        group: the group of a form it stands in.
        limits: `ge`, `gt`, `le`, `lt`.
    """
    metadata = {"description": description, **limits}
    if label:
        metadata["title"] = label
    extra = {name: text for name, text in (("unit", unit), ("group", group)) if text}
    if extra:
        metadata["json_schema_extra"] = extra
    return field(default=default, metadata=metadata)


@cache
def record_settings(record: type, prefix: str = "") -> dict[str, Setting]:
    """The settings of a dataclass whose fields carry descriptions and limits, in the order of declaration.

    Args:
        record: the dataclass.
        prefix: what stands before the names of its fields.
    """
    hints = typing.get_type_hints(record)
    return {
        f"{prefix}{info.name}": setting_of(f"{prefix}{info.name}", hints[info.name], info.default, info.metadata)
        for info in dataclasses.fields(record)
    }


def misfits(record: Any) -> Iterator[Problem]:
    """What is wrong with the fields of a record, each by itself."""
    for name, setting in record_settings(type(record)).items():
        problem = setting.misfit(getattr(record, name))
        if problem is not None:
            yield problem
