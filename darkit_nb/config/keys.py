"""The dotted keys of a configuration model: what each accepts, and which one a typing error meant."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from difflib import SequenceMatcher
from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from darkit_nb.records.setting import Setting, record_settings, setting_of, unwrap


def _about(info: FieldInfo) -> dict[str, Any]:
    names = ("ge", "gt", "le", "lt")
    limits = {name: getattr(rule, name) for rule in info.metadata for name in names if hasattr(rule, name)}
    return {"description": info.description, "title": info.title, **limits}


def _model_settings(prefix: str, model: type[BaseModel]) -> dict[str, Setting]:
    table: dict[str, Setting] = {}
    for name, info in model.model_fields.items():
        key = f"{prefix}{info.alias or name}"
        default = info.get_default(call_default_factory=True)
        table[key] = setting_of(key, info.annotation, default, _about(info))
        bare, _ = unwrap(info.annotation)
        if isinstance(bare, type) and issubclass(bare, BaseModel):
            table |= _model_settings(f"{key}.", bare)
        elif isinstance(bare, type) and dataclasses.is_dataclass(bare):
            table |= record_settings(bare, f"{key}.")
    return table


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
