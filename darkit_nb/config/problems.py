"""From pydantic's findings to one `ConfigError` that names every wrong key, what was expected and what came."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from darkit_nb.config.keys import key_table, locate, nearest_keys
from darkit_nb.errors import ConfigError

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

_UNKNOWN = {"extra_forbidden", "unexpected_keyword_argument"}
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


def unknown_key(model: type[BaseModel], key: str, received: Any) -> Problem:
    """The problem of a key that does not exist, with its nearest neighbours."""
    near = nearest_keys(model, key)
    sections = sorted({known.split(".")[0] for known in key_table(model)})
    return Problem(
        key=key,
        message=f"There is no setting {key!r}.",
        expected=f"{near[0]!r}" if near else f"a key under one of {', '.join(sections)}",
        received=f"{key!r} = {shown(received)}",
        fix=f"did you mean {' or '.join(map(repr, near))}?" if near else None,
    )


def _from_raised(key: str, error: Exception) -> list[Problem]:
    """Problems of an error that one of our own validators raised."""
    if isinstance(error, SettingsError) and error.problems:
        return [problem.under(key) for problem in error.problems]
    if isinstance(error, ConfigError):
        return [
            Problem(key=key, message=error.message, expected=error.expected, received=error.received, fix=error.fix)
        ]
    return [Problem(key=key, message=f"{key or 'The configuration'} cannot be used.", expected=str(error))]


def problems_of(model: type[BaseModel], findings: Sequence[Any]) -> list[Problem]:
    """Translate pydantic's error list; findings about one key (the members of a union) become one problem."""
    problems: dict[tuple[str, str], Problem] = {}
    for finding in findings:
        key, setting = locate(model, finding["loc"])
        raised = finding.get("ctx", {}).get("error")
        if finding["type"] in _UNKNOWN:
            found = [unknown_key(model, key, finding["input"])]
        elif isinstance(raised, Exception):
            found = _from_raised(key, raised)
        else:
            expected = setting.expected if setting else "a mapping of settings"
            message = f"{key or 'The configuration'} cannot be {shown(finding['input'])}."
            found = [Problem(key=key, message=message, expected=expected, received=shown(finding["input"]))]
        for problem in found:
            problems.setdefault((problem.key, problem.message if isinstance(raised, Exception) else ""), problem)
    return list(problems.values())


def config_error(model: type[BaseModel], error: ValidationError) -> SettingsError:
    """The error to show instead of pydantic's."""
    return settings_error(problems_of(model, error.errors(include_url=False)))
