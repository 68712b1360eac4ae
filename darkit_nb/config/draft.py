"""A configuration while somebody writes it: some values may not be acceptable yet."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from darkit_nb.config.field_text import text_of, value_of
from darkit_nb.config.keys import Setting, key_table
from darkit_nb.config.known_names import name_problems
from darkit_nb.config.problems import Problem, SettingsError, settings_error, unknown_key
from darkit_nb.config.run_config import RunConfig

_TABLE = key_table(RunConfig)
FIELDS: dict[str, Setting] = {
    key: setting for key, setting in _TABLE.items() if setting.kind != "section" and key != "schema"
}
"""The settings a form has a field for."""

SWITCHES: tuple[str, ...] = tuple(
    key for key, setting in _TABLE.items() if setting.kind == "section" and setting.nullable
)
"""The sections that may be null, which a form shows as a switch."""


@dataclass(frozen=True)
class Checked:
    """What validation says about a draft.

    Attributes:
        config: The configuration, or None while something is wrong.
        problems: What is wrong, by the key of the field it belongs to; a section or "" where no field is meant.
    """

    config: RunConfig | None
    problems: dict[str, Problem]


class Draft:
    """Values of all settings, acceptable or not.

    A section that is switched off keeps its values, so that switching it on again brings them back.
    """

    def __init__(self, config: RunConfig | None = None) -> None:
        self.values: dict[str, Any] = {}
        self.texts: dict[str, str] = {}
        self.off: set[str] = set()
        self.load(config or RunConfig())

    def load(self, config: RunConfig) -> None:
        """Take every value of a configuration."""
        data = config.to_dict()
        self.off = {key for key in SWITCHES if data[key] is None}
        for key in FIELDS:
            section, _, leaf = key.rpartition(".")
            if section not in self.off:
                self._put(key, (data[section] if section else data)[leaf])
            elif key not in self.values:
                self._put(key, FIELDS[key].default)

    def copy(self) -> Draft:
        """The same values, to be changed apart."""
        other = Draft.__new__(Draft)
        other.values, other.texts, other.off = dict(self.values), dict(self.texts), set(self.off)
        return other

    def set(self, key: str, value: Any) -> None:
        """Give one setting a value; a nullable section takes None, or True to be switched on again.

        Raises:
            SettingsError: there is no such setting.
        """
        if key in SWITCHES and (value is None or isinstance(value, bool)):
            self.off = self.off - {key} if value else self.off | {key}
            return
        if key in SWITCHES and isinstance(value, Mapping):
            self.off -= {key}
            for leaf, inner in value.items():
                self.set(f"{key}.{leaf}", inner)
            return
        parent = key.rpartition(".")[0]
        if key not in FIELDS and parent in FIELDS and FIELDS[parent].kind == "mapping":
            self._put(parent, {**(self.values[parent] or {}), key.removeprefix(f"{parent}."): value})
            return
        self._require(key, value)
        self._put(key, list(value) if isinstance(value, tuple) else value)

    def write(self, key: str, text: str) -> None:
        """Give one setting the text of its field, which stays as it was typed.

        Raises:
            SettingsError: there is no such setting.
        """
        self._require(key, text)
        self.values[key] = value_of(FIELDS[key], text)
        self.texts[key] = text

    def _require(self, key: str, value: Any) -> None:
        if key not in FIELDS:
            raise settings_error([unknown_key(RunConfig, key, value)])

    def _put(self, key: str, value: Any) -> None:
        self.values[key] = value
        self.texts[key] = text_of(FIELDS[key], value)

    def to_dict(self) -> dict[str, Any]:
        """Nested plain data as YAML has it, valid or not."""
        data: dict[str, Any] = {}
        for key, value in self.values.items():
            section, _, leaf = key.rpartition(".")
            if section not in self.off:
                (data.setdefault(section, {}) if section else data)[leaf] = value
        return data | dict.fromkeys(self.off)

    @property
    def changed(self) -> tuple[str, ...]:
        """Keys whose value is not the default, switches included."""
        return (*sorted(self.off), *(key for key in FIELDS if self._differs(key)))

    def _differs(self, key: str) -> bool:
        value, usual = self.values[key], FIELDS[key].default
        # 1 is as good as 1.0, and true is neither.
        return key.rpartition(".")[0] not in self.off and (
            value != usual or isinstance(value, bool) is not isinstance(usual, bool)
        )

    def check(self) -> Checked:
        """Validate everything, across fields too, and the names against what is registered."""
        try:
            config = RunConfig.model_validate(self.to_dict())
        except SettingsError as error:
            return Checked(None, _by_field(error.problems))
        problems = _by_field(name_problems(config))
        return Checked(None if problems else config, problems)


def _by_field(problems: tuple[Problem, ...] | list[Problem]) -> dict[str, Problem]:
    """The first problem of each field; what concerns several fields of a section stands at each."""
    found: dict[str, Problem] = {}
    for problem in problems:
        for key in _fields_of(problem):
            found.setdefault(key, problem)
    return found


def _fields_of(problem: Problem) -> list[str]:
    key = problem.key
    while key and key not in FIELDS and key not in SWITCHES:
        key = key.rpartition(".")[0]
    if key in SWITCHES:
        # "num_levels=6, num_steps=2" names the settings that do not go together.
        names = re.findall(r"\b(\w+)=", problem.received or "")
        return [f"{key}.{name}" for name in names if f"{key}.{name}" in FIELDS] or [key]
    return [key]
