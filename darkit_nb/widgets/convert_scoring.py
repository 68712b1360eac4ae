"""The text that is scored, while somebody chooses it: the options of a request that the form has fields for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from darkit_nb.config import Problem, Setting
from darkit_nb.config.field_text import text_of, value_of
from darkit_nb.records.conversion_request import ConversionRequest
from darkit_nb.widgets.form_field import field_data

_WINDOWS = ConversionRequest.__dataclass_fields__["windows"].default

SCORING_FIELDS: dict[str, Setting] = {
    setting.key: setting
    for setting in (
        Setting(
            key="windows",
            label="Windows",
            kind="integer",
            nullable=False,
            default=_WINDOWS,
            description="Windows of held-out text scored at most, by the float model and by the converted one; "
            "0 scores nothing. More of them narrow the interval and take longer.",
            minimum=0,
        ),
        Setting(
            key="window",
            label="Tokens of a window",
            kind="integer",
            nullable=True,
            default=None,
            description="Tokens of one window, each scored from its second token; by default 2048, or the model's "
            "context where that is less. Short windows are quick, and cost perplexity.",
            minimum=2,
        ),
        Setting(
            key="text",
            label="Text file",
            kind="text",
            nullable=True,
            default=None,
            description="File with the text that is scored; by default the validation documents of the dataset.",
        ),
        Setting(
            key="dataset",
            label="Dataset",
            kind="text",
            nullable=True,
            default=None,
            description="Text to calibrate with: a dataset such as stdlib or text:book.txt; by default that of the "
            "run, or stdlib.",
        ),
    )
}
"""Settings by their key, which is the name of the option of the request."""

_USUAL = {"window": "2048, or the context", "text": "of the dataset", "dataset": "the model's own, or stdlib"}


class ScoringDraft:
    """Options of the request, acceptable or not.

    Args:
        options: given when the panel was made; what is typed changes them.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._given = dict(options)
        self._values: dict[str, Any] = {}
        self._texts: dict[str, str] = {}

    @property
    def options(self) -> dict[str, Any]:
        """What the request gets besides its own defaults."""
        found = {**self._given, **self._values}
        return {
            key: value for key, value in found.items() if key in self._given or value != SCORING_FIELDS[key].default
        }

    @property
    def changed(self) -> tuple[str, ...]:
        """Keys of fields that differ from what the panel was made with."""
        return tuple(self._values)

    @property
    def problems(self) -> dict[str, Problem]:
        """What is wrong, by key."""
        found = {key: SCORING_FIELDS[key].misfit(value) or _absent(key, value) for key, value in self._values.items()}
        return {key: problem for key, problem in found.items() if problem is not None}

    def usual(self, key: str) -> Any:
        """What a field holds before it is changed."""
        return self._given.get(key, SCORING_FIELDS[key].default)

    def text(self, key: str) -> str:
        """What a field shows."""
        return self._texts.get(key, text_of(SCORING_FIELDS[key], self._values.get(key, self.usual(key))))

    def write(self, key: str, text: str) -> None:
        """Give one field a text, which stays as it was typed."""
        self._texts[key] = text
        self._put(key, value_of(SCORING_FIELDS[key], text))

    def set(self, key: str, value: Any) -> None:
        """Give one option a value."""
        self._texts.pop(key, None)
        self._put(key, value)

    def reset(self, key: str) -> None:
        """As the panel was made."""
        self._values.pop(key, None)
        self._texts.pop(key, None)

    def _put(self, key: str, value: Any) -> None:
        if value == self.usual(key):
            self._values.pop(key, None)
        else:
            self._values[key] = value


def _absent(key: str, value: Any) -> Problem | None:
    """A file that is not there; asked before anything is begun."""
    if key != "text" or value is None or Path(value).expanduser().is_file():
        return None
    return Problem(
        key=key,
        message=f"There is no text in {str(value)!r}.",
        expected="a file of text",
        received="a folder" if Path(value).expanduser().is_dir() else "no file of that name",
        fix=f"relative names begin in {Path.cwd()}; empty takes the validation documents of the dataset",
    )


def scoring_group(draft: ScoringDraft) -> dict[str, Any]:
    """The group of these fields, as plain data for the form."""
    return {
        "section": "scoring",
        "title": "Scoring",
        "about": "The held-out text on which the float model and the converted one are compared.",
        "switch": None,
        "collapsed": False,
        "first": [_field(draft, key) for key in ("windows", "window")],
        "more": [_field(draft, key) for key in ("text", "dataset")],
    }


def _field(draft: ScoringDraft, key: str) -> dict[str, Any]:
    setting = SCORING_FIELDS[key]
    usual = text_of(setting, draft.usual(key))
    return {**field_data(setting, usual or _USUAL.get(key, "")), "placeholder": _USUAL.get(key, usual)}
