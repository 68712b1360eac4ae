"""What is wrong with settings: one problem for each, all of them in one error."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from darkit_nb.errors import ConfigError

_KIND_NAMES = {
    bool: "true/false",
    int: "integer",
    float: "number",
    str: "text",
    list: "list",
    tuple: "list",
    dict: "mapping",
}


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One setting that cannot be used; a form shows it beside the field `key`.

    Attributes:
        key: Dotted key such as `train.steps`; empty where the configuration as a whole is meant.
        message: One sentence.
        expected: What would have been accepted.
        received: What was found.
        fix: What to do next, where there is more to say than `expected` does.
    """

    key: str
    message: str
    expected: str | None = None
    received: str | None = None
    fix: str | None = None

    def under(self, prefix: str) -> Problem:
        """The same problem seen from a section further out."""
        return replace(self, key=".".join(filter(None, (prefix, self.key))))


class SettingsError(ConfigError):
    """A `ConfigError` that also carries its problems one by one, in `problems`."""

    problems: tuple[Problem, ...] = ()


def shown(value: Any) -> str:
    """A received value with the name of its kind, cut to a readable length."""
    if value is None:
        return "null (nothing)"
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = repr(value)
    kind = _KIND_NAMES.get(type(value), type(value).__name__)
    return f"{text if len(text) <= 80 else text[:77] + '…'} ({kind})"


def settings_error(problems: Iterable[Problem]) -> SettingsError:
    """One error for all problems, each named with its key."""
    found = tuple(problems)
    if len(found) == 1:
        (only,) = found
        error = SettingsError(only.message, expected=only.expected, received=only.received, fix=only.fix)
    else:
        labelled = [(problem.key or "configuration", problem) for problem in found]
        error = SettingsError(
            f"{len(found)} settings cannot be used: {', '.join(key for key, _ in labelled)}.",
            expected="; ".join(f"{key}: {problem.expected or problem.message}" for key, problem in labelled),
            received="; ".join(f"{key}: {problem.received}" for key, problem in labelled if problem.received) or None,
            fix="; ".join(f"{key}: {problem.fix}" for key, problem in labelled if problem.fix) or None,
        )
    error.problems = found
    return error
