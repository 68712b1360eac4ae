"""Metrics as a table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from darkit_nb.runs.metrics import Record

if TYPE_CHECKING:
    import pandas

_HEAD = {"schema", "kind", "step", "nonfinite"}


def metrics_frame(records: Iterable[Record]) -> pandas.DataFrame:
    """One row a step: training values, `evaluation_…` and `spikes_…` columns where the step has them.

    Args:
        records: Metrics as `RunDirectory.read_metrics` gives them.

    Returns: A frame indexed by step; without columns where nothing was measured yet.
    """
    import pandas

    rows: dict[int, dict[str, Any]] = {}
    for record in records:
        row = rows.setdefault(record["step"], {})
        prefix = "" if record["kind"] == "train" else f"{record['kind']}_"
        for name, value in record.items():
            if name in _HEAD or isinstance(value, list | dict):
                continue
            row.setdefault(name, value) if name in ("attempt", "time") else row.update({prefix + name: value})
    frame = pandas.DataFrame.from_dict(rows, orient="index").sort_index()
    frame.index.name = "step"
    names = sorted(map(str, frame.columns), key=lambda name: name.startswith(("evaluation_", "spikes_")))
    return frame.reindex(columns=names)
