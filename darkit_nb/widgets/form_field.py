"""One setting as a form shows it: what its field says of it, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from darkit_nb.config import Problem, Setting
from darkit_nb.config.problems import settings_error
from darkit_nb.views.config_card import brief
from darkit_nb.widgets.base import problem_of


def field_data(setting: Setting, default: str, options: Sequence[Mapping[str, str]] = ()) -> dict[str, Any]:
    """A field, as plain data for the front end.

    Args:
        setting: what it sets.
        default: the text that stands in it where nothing was chosen.
        options: what may be chosen, with value, label and about.
    """
    return {
        "key": setting.key,
        "label": setting.label,
        "kind": setting.kind,
        "about": setting.description,
        "expected": setting.expected,
        "range": " ".join(filter(None, (setting.limits, setting.unit))),
        "default": default,
        "nullable": setting.nullable,
        "choices": list(setting.choices),
        "options": [dict(option) for option in options],
    }


def error_data(key: str, problem: Problem) -> dict[str, Any]:
    """What is wrong with a field, briefly and in full."""
    return {"brief": brief(key, problem), **problem_of(settings_error([problem]))}
