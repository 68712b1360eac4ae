"""Many layers over time as a heat map: layers of one role side by side, time in as many columns as are worth it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count

import numpy as np
from numpy.typing import NDArray

from darkit_nb.views.spike_table import role_of

MAX_CELLS = 8000
"""Cells of one map: in 4 bytes each, what a line of 2 000 points takes with x and y in 8 bytes each."""
MAX_ROWS = 120
"""Rows an eye can follow; neighbouring blocks share one beyond that."""


@dataclass(frozen=True, eq=False)
class Heat:
    """A heat map, its first row on top.

    Attributes:
        rows: names of the rows.
        groups: (name, first row, number of rows) of rows that belong together.
        x: steps of the columns; those of the measurements, or the middles of the spans they stand for.
        z: percent, one row per layer; NaN where nothing was measured.
    """

    rows: tuple[str, ...]
    groups: tuple[tuple[str, int, int], ...]
    x: NDArray[np.floating]
    z: NDArray[np.float32]

    @property
    def limits(self) -> tuple[float, float]:
        """Lowest and highest value, rounded outwards to half a percent so that the colours stay while values move."""
        finite = self.z[np.isfinite(self.z)]
        if not finite.size:
            return 0.0, 100.0
        low, high = np.floor(2 * finite.min()) / 2, np.ceil(2 * finite.max()) / 2
        return float(low), float(max(high, low + 1))


def layer_heat(names: tuple[str, ...], steps: NDArray[np.int64], shares: NDArray[np.float32]) -> Heat:
    """Rows by role, and within a role by depth; at most `MAX_ROWS` rows and `MAX_CELLS` cells, by averaging.

    Args:
        names: dotted names of the layers, in the order of the model.
        steps: of the measurements.
        shares: `[steps, layers]`, from 0 to 1.
    """
    by_role: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        by_role.setdefault(role_of(name), []).append(index)
    most = max(MAX_ROWS, len(by_role))
    together = next(n for n in count(1) if sum(-(-len(layers) // n) for layers in by_role.values()) <= most)
    groups, bundles = [], []
    for role, layers in by_role.items():
        own = [layers[start : start + together] for start in range(0, len(layers), together)]
        groups.append((role, len(bundles), len(own)))
        bundles += own
    order = [index for bundle in bundles for index in bundle]
    row_starts = np.cumsum([0, *map(len, bundles)])[:-1]
    columns = max(1, MAX_CELLS // max(1, len(bundles)))
    span = max(1, -(-len(steps) // columns))
    column_starts = np.arange(0, len(steps), span)
    z = _block_means(100 * shares[:, order], column_starts, row_starts).T
    x = np.add.reduceat(steps.astype(np.float64), column_starts) if len(steps) else np.empty(0)
    x /= np.diff(np.append(column_starts, len(steps)))
    rows = tuple(_row_name([names[index] for index in bundle]) for bundle in bundles)
    return Heat(rows, tuple(groups), x, z)


def _block_means(values: NDArray[np.float32], tops: NDArray[np.intp], lefts: NDArray[np.intp]) -> NDArray[np.float32]:
    """Mean of the finite values of each block, NaN where there is none."""
    if not values.size:
        return np.full((len(tops), len(lefts)), np.nan, np.float32)
    finite = np.isfinite(values)
    sums = np.add.reduceat(np.add.reduceat(np.where(finite, values, 0), tops, axis=0), lefts, axis=1)
    counts = np.add.reduceat(np.add.reduceat(finite, tops, axis=0, dtype=np.int64), lefts, axis=1, dtype=np.int64)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan).astype(np.float32)


def _row_name(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
