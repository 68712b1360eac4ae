"""The numbers in a module's parameters as a table."""

from __future__ import annotations

from collections.abc import Sequence

from darkit_nb.records.parameter_statistics import ParameterStatistics
from darkit_nb.views.numbers import percent, short, significant, sparkline
from darkit_nb.views.table import TableView


def parameter_table(statistics: Sequence[ParameterStatistics], name: str = "") -> TableView:
    """A row a parameter or buffer: its spread, its zeros, its histogram and its gradient.

    Args:
        statistics: from `parameter_statistics`.
        name: of the module, for the title.
    """
    title = f"Parameters of {name}" if name else "Parameters"
    if not statistics:
        return TableView(title, ("",), (), ("It holds no parameters and no buffers of its own.",))
    headers = ("", "shape", "dtype", "mean", "std", "least", "greatest", "zero", "histogram", "|gradient|")
    return TableView(title, headers, tuple(map(_row, statistics)), tuple(_notes(statistics)))


def _row(own: ParameterStatistics) -> tuple[str, ...]:
    shape = "×".join(map(str, own.shape)) or "scalar"
    numbers = (own.mean, own.std, own.minimum, own.maximum)
    zero = "–" if own.zero_share is None else percent(own.zero_share)
    written = ("–" if value is None else _number(value) for value in numbers)
    gradient = "–" if own.gradient_norm is None else _number(own.gradient_norm)
    return own.name, shape, own.dtype, *written, zero, sparkline(own.histogram, 12), gradient


def _notes(statistics: Sequence[ParameterStatistics]) -> list[str]:
    notes = [f"{own.name}: no values, as {own.reason}." for own in statistics if own.reason]
    for own in statistics:
        if own.not_finite:
            notes.append(f"✗ {own.name}: {own.not_finite:,} of {own.size:,} values are NaN or infinite.")
        if own.gradient_not_finite:
            notes.append(f"✗ {own.name}: {own.gradient_not_finite:,} values of its gradient are NaN or infinite.")
        if own.sampled:
            notes.append(f"{own.name}: mean, deviation, zeros and histogram of {own.counted:,} of {own.size:,} values.")
    return notes


def _number(value: float) -> str:
    """Three digits; very large and very small ones with an exponent."""
    if value and not 1e-4 <= abs(value) < 1e9:
        return f"{value:.2e}"
    return short(value) if abs(value) >= 1e4 else significant(value)
