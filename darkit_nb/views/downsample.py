"""Fewer points that look the same: extremes by bucket, and a smoothed curve through a noisy one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MAX_POINTS = 2000
"""Points of one trace; more than a screen has columns."""

_BLOCK = 64


def visible(x: NDArray[np.integer | np.floating], low: float | None, high: float | None) -> slice:
    """The part of ascending `x` between two limits, and one point beyond each so that lines leave the picture."""
    start = 0 if low is None else max(0, int(np.searchsorted(x, low)) - 1)
    end = len(x) if high is None else min(len(x), int(np.searchsorted(x, high, "right")) + 1)
    return slice(start, max(start, end))


def downsample(y: NDArray[np.floating], points: int = MAX_POINTS) -> NDArray[np.intp]:
    """Which values to draw, in one call of `Sampled`."""
    return Sampled(points).update(y)


class Sampled:
    """Chooses what to draw of a growing series: the lowest and the highest of every bucket, where they stand.

    Buckets are a power of two wide and stay where they are while the series grows, so that one value more costs one
    bucket more and a curve does not flicker. The first and the last value are chosen too. A bucket with a value that is
    not finite also keeps one of those, so that a gap stays a gap. Few values are all chosen.

    Args:
        points: at most so many are chosen; at least 8.
    """

    def __init__(self, points: int = MAX_POINTS) -> None:
        self.points = points
        self._start_over()

    def _start_over(self) -> None:
        self._seen = self._size = self._done = 0
        self._whole = True
        self._chosen = np.empty(0, np.intp)

    def update(self, y: NDArray[np.floating]) -> NDArray[np.intp]:
        """Ascending indices into `y`, which begins with the values given last time."""
        if len(y) < self._seen:
            self._start_over()
        with np.errstate(over="ignore", invalid="ignore"):
            self._whole &= bool(np.isfinite(y[self._seen :].sum(dtype=np.float64)))
        self._seen = len(y)
        if len(y) <= self.points:
            return np.arange(len(y))
        most = (self.points - 2) // (2 if self._whole else 3)
        size = 1 << (-(-len(y) // most) - 1).bit_length()
        if size != self._size:
            self._size, self._done, self._chosen = size, 0, np.empty(0, np.intp)
        full = len(y) // size * size
        if full > self._done:
            new = _extremes(y[self._done : full].reshape(-1, size), self._whole) + self._done
            self._chosen, self._done = np.concatenate([self._chosen, new]), full
        last = len(y) - 1
        tail = _extremes(y[None, full:], self._whole) + full if full <= last else self._chosen[:0]
        chosen = np.concatenate([self._chosen, tail])
        ends = [end for end, at in ((0, chosen[0]), (last, chosen[-1])) if end != at]
        return np.sort(np.append(chosen, ends).astype(np.intp)) if ends else chosen


def _extremes(buckets: NDArray[np.floating], whole: bool) -> NDArray[np.intp]:
    """Flat ascending indices of the lowest and highest of each row, and of one that is not finite if there is any."""
    if whole:
        found = np.stack([buckets.argmin(axis=1), buckets.argmax(axis=1)])
    else:
        bad = ~np.isfinite(buckets)
        lowest = np.where(bad, np.inf, buckets).argmin(axis=1)
        highest = np.where(bad, -np.inf, buckets).argmax(axis=1)
        gap = np.where(bad.any(axis=1), bad.argmax(axis=1), lowest)
        found = np.stack([lowest, highest, gap])
    rows = np.arange(len(buckets)) * buckets.shape[1]
    flat = np.sort((found + rows).T, axis=1).ravel()
    return flat[np.append(True, flat[1:] != flat[:-1])]


class Smoothed:
    """An exponential moving average that goes on where it stopped: one value more costs one step more.

    smoothed_t = Σ_{i≤t} w^(t−i) y_i / Σ_{i≤t} w^(t−i); the divisor corrects the bias of the start. Values that are not
    finite are passed over, and the average at their place is NaN.

    Args:
        weight: w, from 0 (no smoothing) to below 1.
    """

    def __init__(self, weight: float) -> None:
        self.weight = weight
        self._done = np.empty(0)
        self._length = 0
        self._sum = self._norm = 0.0

    def update(self, y: NDArray[np.floating]) -> NDArray[np.float64]:
        """The average of all of `y`, which begins with the values given last time."""
        if len(y) < self._length:
            self._length, self._sum, self._norm = 0, 0.0, 0.0
        if len(y) > len(self._done):
            grown = np.empty(max(len(y), 2 * len(self._done)))
            grown[: self._length] = self._done[: self._length]
            self._done = grown
        new = np.asarray(y[self._length :], np.float64)
        if len(new):
            finite = np.isfinite(new)
            sums = _decaying_sum(np.where(finite, new, 0.0), finite, self.weight, self._sum)
            norms = _decaying_sum(finite.astype(np.float64), finite, self.weight, self._norm)
            with np.errstate(invalid="ignore"):
                self._done[self._length : len(y)] = np.where(finite, sums / norms, np.nan)
            self._length, self._sum, self._norm = len(y), float(sums[-1]), float(norms[-1])
        return self._done[: self._length]


def smooth(y: NDArray[np.floating], weight: float) -> NDArray[np.float64]:
    """The exponential moving average of `Smoothed` in one call."""
    return Smoothed(weight).update(y)


def _decaying_sum(
    y: NDArray[np.float64], counts: NDArray[np.bool_], weight: float, before: float
) -> NDArray[np.float64]:
    """s_t = w s_(t−1) + y_t, where only values that count let the past decay."""
    if not counts.all():
        sums = np.full(len(y), before)
        sums[counts] = _scan(y[counts], weight, before)
        kept = np.maximum.accumulate(np.where(counts, np.arange(len(y)), -1))
        return np.where(kept >= 0, sums[kept], before)
    return _scan(y, weight, before)


def _scan(y: NDArray[np.float64], weight: float, before: float) -> NDArray[np.float64]:
    """The recurrence by blocks: each block from zero as one matrix product, then what the blocks before left over."""
    if len(y) <= _BLOCK:
        sums = np.empty(len(y))
        for index, value in enumerate(y):
            before = weight * before + value
            sums[index] = before
        return sums
    rows = -(-len(y) // _BLOCK)
    padded = np.zeros(rows * _BLOCK)
    padded[: len(y)] = y
    powers = weight ** np.arange(_BLOCK + 1.0)
    lag = np.arange(_BLOCK)[:, None] - np.arange(_BLOCK)
    own = padded.reshape(rows, _BLOCK) @ np.where(lag >= 0, powers[np.maximum(lag, 0)], 0.0).T
    ends = _scan(own[:, -1], float(powers[-1]), before)
    carried = np.concatenate([[before], ends[:-1]])
    return (own + carried[:, None] * powers[1:]).ravel()[: len(y)]
