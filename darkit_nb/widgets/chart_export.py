"""Files made of charts."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

from darkit_nb.errors import RunError
from darkit_nb.views.chart_frame import chart_frame
from darkit_nb.views.charts import ChartRun

TYPES = {
    "csv": "text/csv",
    "parquet": "application/vnd.apache.parquet",
    "svg": "image/svg+xml",
    "html": "text/html",
}


def chart_file(kind: str, runs: Sequence[ChartRun], draw: Callable[[], str], page: Callable[[], str]) -> bytes:
    """The bytes of a file.

    Args:
        kind: csv, parquet, svg or html.
        runs: whose measurements go into the tables.
        draw: makes the SVG.
        page: makes the HTML.

    Raises:
        RunError: another kind.
    """
    if kind not in TYPES:
        raise RunError(
            f"Charts cannot be written as {kind or 'a file without an ending'!r}.",
            expected=", ".join(f".{each}" for each in TYPES),
            received=f".{kind}",
            cause="the browser draws PNG; Python has no browser" if kind == "png" else None,
            fix="write .svg, or choose PNG in the menu Export above the charts",
        )
    if kind == "svg":
        return draw().encode()
    if kind == "html":
        return page().encode()
    frame = chart_frame(runs)
    if kind == "csv":
        return frame.to_csv(index=False).encode()
    file = io.BytesIO()
    frame.to_parquet(file, index=False)
    return file.getvalue()
