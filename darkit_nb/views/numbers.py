"""Numbers as people read them."""

from __future__ import annotations

import math
from collections.abc import Sequence

_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_BLOCKS = " ▁▂▃▄▅▆▇█"


def short(value: float, digits: int = 3) -> str:
    """Three significant digits with a prefix: 983 k, 8.17 M, 0.0123. Small whole numbers stay whole."""
    if not math.isfinite(value) or (isinstance(value, int) and abs(value) < 1000):
        return str(value)
    for size, prefix in _PREFIXES:
        if abs(value) >= size * (1 - 0.5 * 10**-digits):
            return f"{significant(value / size, digits)} {prefix}"
    return significant(value, digits)


def significant(value: float, digits: int = 3) -> str:
    """`digits` significant digits, never an exponent for what a table holds: 12.9, 0.471, 128."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    exponent = int(f"{value:.{digits - 1}e}".partition("e")[2])  # of the rounded value: 9.999 has that of 10.0
    decimals = max(0, digits - 1 - exponent)
    return f"{value:.{min(decimals, 9)}f}"


def percent(share: float) -> str:
    """A share as a percentage; what is not quite nothing or everything does not read as if it were."""
    if 0 < share < 0.0005:
        return "<0.1 %"
    if 0.9995 < share < 1:
        return ">99.9 %"
    return f"{100 * share:.1f} %"


def sparkline(values: Sequence[float], width: int = 16) -> str:
    """A histogram as a row of blocks, at most `width` long; whatever is not zero shows at least the lowest block."""
    if not values:
        return ""
    step = -(-len(values) // width)
    summed = [sum(values[start : start + step]) for start in range(0, len(values), step)]
    top = max(summed)
    return "".join(_BLOCKS[math.ceil(8 * value / top)] if top else _BLOCKS[0] for value in summed)


def energy(picojoules: float) -> str:
    """Picojoules in the unit that suits them: 12.3 µJ."""
    size, unit = next(
        (pair for pair in ((1e12, "J"), (1e9, "mJ"), (1e6, "µJ"), (1e3, "nJ")) if abs(picojoules) >= pair[0]), (1, "pJ")
    )
    return f"{significant(picojoules / size)} {unit}"


def duration(seconds: float) -> str:
    """Seconds as 12 s, 3 min 05 s, 2 h 07 min, 3 d 4 h."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"
