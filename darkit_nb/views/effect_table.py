"""What an edit does to a model, before and after, as people read it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from darkit_nb.views.edit_report import Measure
from darkit_nb.views.numbers import energy, percent, short, significant
from darkit_nb.views.table import TableView

NOISE = 0.05
"""Changes of speed below this share are the machine's, not the edit's."""

_MEASURES: tuple[tuple[str, str, Callable[[Any], str], int], ...] = (
    ("loss", "loss", lambda value: significant(value, 4), -1),
    ("firing_rate", "firing rate", percent, 0),
    ("energy_pj", "energy/token, simulated", energy, -1),
    ("tokens_per_s", "tokens/s", short, 1),
)
"""Measure, its title, how it is written, and whether less (-1) or more (1) of it is better."""


def effect_measures(effect: Mapping[str, Any]) -> tuple[Measure, ...]:
    """Rows of an effect, from `edit.effect.measure_effect`; quantities that were measured on both sides only."""
    before, after = effect["before"], effect["after"]
    rows = []
    for key, title, write, better in _MEASURES:
        if key in before and key in after:
            ratio = after[key] / before[key] - 1 if before[key] else 0.0
            clear = abs(ratio) > (NOISE if key == "tokens_per_s" else 0)
            good = (ratio * better > 0) if better and clear else None
            rows.append(Measure(title, write(before[key]), write(after[key]), _change(ratio), good))
    return tuple(rows)


def effect_view(effect: Mapping[str, Any]) -> TableView:
    """An effect as a table."""
    return TableView(
        title=f"Effect of the edit on {short(effect['tokens'])} tokens",
        headers=("", "before", "after", "change"),
        rows=tuple((each.name, each.before, each.after, each.change) for each in effect_measures(effect)),
        notes=(
            f"Outputs change by {significant(effect['mean_change'], 3)} on average, "
            f"{significant(effect['largest_change'], 3)} at most.",
        ),
    )


def _change(ratio: float) -> str:
    return "same" if ratio == 0 else f"{ratio:+.1%}".replace("-", "−")
