"""All runs of a folder as one table."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime

from darkit_nb.runs.summary import RunSummary
from darkit_nb.views.numbers import duration, energy, percent, short, significant
from darkit_nb.views.table import TableView

HEADERS = ("run", "state", "step", "loss", "bits/byte", "fires", "energy", "tokens/s", "started", "took")


def run_list_view(rows: Sequence[RunSummary], folder: str, *, limit: int = 50) -> TableView:
    """The newest runs, newest first.

    Args:
        rows: Summaries, oldest first.
        folder: Where they lie, for the title.
        limit: Largest number of rows.
    """
    now, shown = time.time(), list(reversed(rows))[:limit]
    left = len(rows) - len(shown)
    problems = tuple(f"{row.id}: {row.reason}" for row in shown if row.state in ("lost", "failed") and row.reason)
    notes = (f"{left} older runs are not shown.",) if left else ()
    return TableView(
        title=f"{len(rows)} {'run' if len(rows) == 1 else 'runs'} in {folder}",
        headers=HEADERS,
        rows=tuple(_row(row, now) for row in shown),
        notes=(*notes, *problems, "energy: per token, simulated.") if shown else ("There are no runs yet.",),
    )


def took(row: RunSummary, now: float) -> float | None:
    """Seconds from start to end, or to now while it is at work."""
    if row.started is None:
        return None
    end = row.ended if row.ended is not None else now if row.state in ("running", "starting") else None
    return None if end is None else max(0.0, end - row.started)


def _row(row: RunSummary, now: float) -> tuple[str, ...]:
    spent = took(row, now)
    step = "–" if row.step is None else str(row.step)
    return (
        row.id,
        row.state,
        f"{step}/{row.total_steps}" if row.total_steps else step,
        "–" if row.loss is None else significant(row.loss, 4),
        "–" if row.bits_per_byte is None else significant(row.bits_per_byte, 4),
        "–" if row.firing_rate is None else percent(row.firing_rate),
        "–" if row.energy_pj is None else energy(row.energy_pj),
        "–" if row.tokens_per_s is None else short(row.tokens_per_s),
        "–" if row.started is None else f"{datetime.fromtimestamp(row.started):%m-%d %H:%M}",
        "–" if spent is None else duration(spent),
    )
