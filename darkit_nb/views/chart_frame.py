"""What charts are drawn from, as one table to take along."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from darkit_nb.runs.history import RunHistory
from darkit_nb.views.charts import ChartRun

if TYPE_CHECKING:
    import pandas


def chart_frame(runs: Sequence[ChartRun]) -> pandas.DataFrame:
    """One row per run and step, every measurement a column: training values under their own name, others with their
    kind before it, firing rates as `firing_rate.<layer>`. A step that has no such measurement is empty there.

    Args:
        runs: whose whole histories are written, whatever part of them is shown.
    """
    import pandas

    frames = [_frame(run.history).assign(run=run.key) for run in runs]
    whole = pandas.concat(frames, ignore_index=True) if frames else pandas.DataFrame({"run": [], "step": []})
    first = ["run", "step"]
    return whole.reindex(columns=first + [name for name in whole.columns if name not in first])


def _frame(history: RunHistory) -> pandas.DataFrame:
    import pandas

    series = {
        (name if kind == "train" else f"{kind}_{name}"): history.series(kind, name)
        for kind, names in sorted(history.names().items(), key=lambda item: item[0] != "train")
        for name in names
        if name != "time" or kind == "train"
    }
    steps, layers, rates = history.layers("firing_rate")
    series |= {f"firing_rate.{layer}": (steps, rates[:, index]) for index, layer in enumerate(layers)}
    every = np.unique(np.concatenate([np.empty(0, np.int64), *(steps for steps, _ in series.values())]))
    columns: dict[str, np.ndarray] = {"step": every}
    for name, (at, values) in series.items():
        columns[name] = np.full(len(every), np.nan, values.dtype)
        columns[name][np.searchsorted(every, at)] = values
    return pandas.DataFrame(columns)
