"""Runs side by side as people read them: scores with the best one marked, then the settings that differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from darkit_nb.config.yaml_text import inline
from darkit_nb.runs.comparison import Comparison
from darkit_nb.runs.naming import name_of
from darkit_nb.views.numbers import energy, percent, short, significant
from darkit_nb.views.table import TableView

BEST = "★"

_SCORES: tuple[tuple[str, str, Callable[[Any], str], int], ...] = (
    ("state", "state", str, 0),
    ("step", "step", str, 0),
    ("loss", "loss", lambda value: significant(value, 4), -1),
    ("bits_per_byte", "bits/byte", lambda value: significant(value, 4), -1),
    ("firing_rate", "firing rate", percent, 0),
    ("energy_pj", "energy/token, simulated", energy, -1),
    ("tokens_per_s", "tokens/s", short, 1),
)
"""Score, its title, how it is written, and whether less (-1) or more (1) of it is better."""


def comparison_rows(comparison: Comparison) -> dict[str, Any]:
    """Plain data for a page: `runs`, `names`, and `scores` and `settings` as title, cells and indices of the best."""
    scores = [
        [title, [_written(value, write) for value in comparison.scores[key]], best(comparison.scores[key], better)]
        for key, title, write, better in _SCORES
        if any(value is not None for value in comparison.scores.get(key, ()))
    ]
    settings = [[key, [inline(value) for value in values], []] for key, values in comparison.settings.items()]
    names = _told_apart(comparison.runs)
    return {"runs": list(comparison.runs), "names": names, "scores": scores, "settings": settings}


def comparison_view(comparison: Comparison) -> TableView:
    """The same as a table, one column a run."""
    shown = comparison_rows(comparison)
    rows = [
        (title, *(f"{BEST} {cell}" if index in winners else cell for index, cell in enumerate(cells)))
        for title, cells, winners in [*shown["scores"], *shown["settings"]]
    ]
    note = "" if shown["settings"] else "Their settings are the same."
    notes = tuple(filter(None, [f"{BEST} is the best of its row.", note]))
    return TableView(f"{len(comparison.runs)} runs compared", ("", *shown["names"]), tuple(rows), notes)


def best(values: Sequence[Any], better: int) -> list[int]:
    """Indices of the best value; none where more or less means nothing, or where there is nothing to choose from."""
    found = [value for value in values if isinstance(value, int | float) and value == value]
    if not better or len(found) < 2 or min(found) == max(found):
        return []
    top = max(found) if better > 0 else min(found)
    return [index for index, value in enumerate(values) if value == top]


def _written(value: Any, write: Callable[[Any], str]) -> str:
    return "–" if value is None else write(value)


def _told_apart(runs: Sequence[str]) -> list[str]:
    """Names of runs; those that several have get the end of the id."""
    names = [name_of(run) for run in runs]
    return [f"{name} {run[-4:]}" if names.count(name) > 1 else name for name, run in zip(names, runs, strict=True)]
