"""One setting as the text of an input field, there and back."""

from __future__ import annotations

from typing import Any

from darkit_nb.config import yaml_text
from darkit_nb.config.keys import Setting
from darkit_nb.errors import ConfigError


def text_of(setting: Setting, value: Any) -> str:
    """What an input field shows for a value; `value_of` of it gives the value again.

    Lists stand separated by commas, mappings as `key: value` separated by commas, null as nothing.
    """
    if value is None:
        return ""
    if setting.kind == "list" and isinstance(value, list | tuple):
        return _list_text(list(value))
    if setting.kind == "mapping" and isinstance(value, dict):
        return yaml_text.inline(value)[1:-1]
    return value if isinstance(value, str) else yaml_text.inline(value)


def value_of(setting: Setting, text: str) -> Any:
    """The value a person means by a text.

    A text that is no value of its kind is returned as it is, so that validation can say what is wrong with it.
    """
    stripped = text.strip()
    if not stripped and setting.nullable:
        return None
    if setting.kind in ("integer", "number", "true/false"):
        return _scalar(setting.kind, stripped)
    if setting.kind == "list":
        return _list(stripped)
    if setting.kind == "mapping":
        return _mapping(stripped)
    return text


def _scalar(kind: str, text: str) -> Any:
    value = _parsed(text)
    # People write 2e3 for a count; YAML reads that as a fraction.
    if kind == "integer" and isinstance(value, float) and value.is_integer():
        return int(value)
    return text if value is None else value


def _list(text: str) -> Any:
    if text.startswith("["):
        value = _parsed(text)
        return value if isinstance(value, list) else text
    return [part.strip() for part in text.split(",") if part.strip()]


def _mapping(text: str) -> Any:
    value = _parsed(text if text.startswith("{") else f"{{{text}}}")
    return value if isinstance(value, dict) else text


def _parsed(text: str) -> Any:
    try:
        return yaml_text.parse(text, "The value")
    except ConfigError:
        return text


def _list_text(items: list[Any]) -> str:
    plain = ", ".join(map(str, items))
    return plain if _list(plain) == items else yaml_text.inline(items)
