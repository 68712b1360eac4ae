"""From pydantic's findings to one `ConfigError` that names every wrong key, what was expected and what came."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from darkit_nb.config.keys import key_table, locate, nearest_keys
from darkit_nb.errors import ConfigError
from darkit_nb.records.problem import Problem, SettingsError, settings_error, shown

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

_UNKNOWN = {"extra_forbidden", "unexpected_keyword_argument"}


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
