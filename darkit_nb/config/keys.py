"""The dotted keys of a configuration model: what each accepts, and which one a typing error meant."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cache
from typing import Any, Literal, Union

from pydantic import BaseModel
from pydantic.fields import FieldInfo

_PHRASES = {
    "integer": "an integer",
    "number": "a number",
    "list": "a list of text",
    "mapping": "a mapping",
    "section": "a mapping of settings",
    "entry": "a number, text, true, false or null",
}


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


def _unwrap(annotation: Any) -> tuple[Any, bool]:
    """Strip `Annotated` and `| None`; returns the bare annotation and whether null is accepted."""
    if typing.get_origin(annotation) is typing.Annotated:
        return _unwrap(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (Union, types.UnionType):
        members = [member for member in typing.get_args(annotation) if member is not type(None)]
        nullable = len(members) < len(typing.get_args(annotation))
        if len(members) == 1:
            return _unwrap(members[0])[0], nullable
        return Union[tuple(members)], nullable  # noqa: UP007 - built at run time
    return annotation, False


def _setting(key: str, annotation: Any, default: Any, description: str, limits: dict[str, Any]) -> Setting:
    bare, nullable = _unwrap(annotation)
    origin = typing.get_origin(bare)
    choices = tuple(map(str, typing.get_args(bare))) if origin is Literal else ()
    exclusive = {"gt": "exclusive_minimum", "lt": "exclusive_maximum"}
    return Setting(
        key=key,
        kind="choice" if choices else _KINDS.get(origin or bare, "section"),
        nullable=nullable,
        default=list(default) if isinstance(default, tuple) else default,
        description=description,
        choices=choices,
        minimum=limits.get("ge", limits.get("gt")),
        maximum=limits.get("le", limits.get("lt")),
        **{flag: True for name, flag in exclusive.items() if name in limits},
    )


def _limits(info: FieldInfo) -> dict[str, Any]:
    names = ("ge", "gt", "le", "lt")
    return {name: getattr(rule, name) for rule in info.metadata for name in names if hasattr(rule, name)}


def _model_settings(prefix: str, model: type[BaseModel]) -> dict[str, Setting]:
    table: dict[str, Setting] = {}
    for name, info in model.model_fields.items():
        key = f"{prefix}{info.alias or name}"
        default = info.get_default(call_default_factory=True)
        table[key] = _setting(key, info.annotation, default, info.description or "", _limits(info))
        bare, _ = _unwrap(info.annotation)
        if isinstance(bare, type) and issubclass(bare, BaseModel):
            table |= _model_settings(f"{key}.", bare)
        elif isinstance(bare, type) and dataclasses.is_dataclass(bare):
            table |= record_settings(bare, f"{key}.")
    return table


def record_settings(record: type, prefix: str = "") -> dict[str, Setting]:
    """The settings of a dataclass whose fields carry descriptions and limits, in the order of declaration.

    Args:
        record: the dataclass.
        prefix: what stands before the names of its fields.
    """
    hints = typing.get_type_hints(record)
    return {
        f"{prefix}{field.name}": _setting(
            f"{prefix}{field.name}",
            hints[field.name],
            field.default,
            field.metadata["description"],
            {name: field.metadata[name] for name in ("ge", "gt", "le", "lt") if name in field.metadata},
        )
        for field in dataclasses.fields(record)
    }


@cache
def key_table(model: type[BaseModel]) -> dict[str, Setting]:
    """Every dotted key of a model, sections included, in the order of declaration."""
    return _model_settings("", model)


def known_key(model: type[BaseModel], key: str) -> bool:
    """Whether a dotted key exists, directly or as an entry of a free mapping such as `model.overrides`."""
    table = key_table(model)
    parent = key.rpartition(".")[0]
    return key in table or (parent in table and table[parent].kind == "mapping")


def locate(model: type[BaseModel], location: Sequence[int | str]) -> tuple[str, Setting | None]:
    """Dotted key and setting of a pydantic error location, without the union members pydantic appends."""
    table = key_table(model)
    key = ""
    for part in location:
        if key in table and table[key].kind not in ("section", "mapping"):
            break
        inside_mapping = key in table and table[key].kind == "mapping"
        longer = f"{key}.{part}" if key else str(part)
        if inside_mapping:
            return longer, dataclasses.replace(table[key], key=longer, kind="entry")
        key = longer
    return key, table.get(key)


def nearest_keys(model: type[BaseModel], key: str, count: int = 3) -> list[str]:
    """Existing keys that a mistyped one probably meant, best first."""
    leaf = key.rpartition(".")[2]

    def likeness(known: str) -> float:
        known_leaf = known.rpartition(".")[2]
        whole = SequenceMatcher(None, key, known).ratio()
        last = SequenceMatcher(None, leaf, known_leaf).ratio()
        return max(whole, 0.98 * last) + (0.01 if known.split(".")[0] == key.split(".")[0] else 0.0)

    ranked = sorted(key_table(model), key=lambda known: (-likeness(known), known))
    return [known for known in ranked[:count] if likeness(known) >= 0.7]
