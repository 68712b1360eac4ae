"""How much worse one model is than another one, pair by pair over the windows of one text.

For windows w with mean losses a_w (reference) and b_w, in nats per scored token, and β bytes per token,

    d_w = (b_w − a_w) / (ln 2 · β)      Δ = mean d_w      s.e. = std(d_w) / √n      Δ ± t(0.975; n − 1) · s.e.

What all models find hard cancels in d_w, so the error of Δ is far below that of either perplexity.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import NormalDist, fmean, stdev

from darkit_nb.errors import DataError
from darkit_nb.records.conversion_result import ConversionComparison, ConversionRow
from darkit_nb.records.paired import PairedDifference, WindowLosses

_SMALL = {1: 12.7062, 2: 4.3027, 3: 3.1824, 4: 2.7764, 5: 2.5706, 6: 2.4469}
"""t(0.975) where the expansion for many degrees of freedom is not exact enough."""


def paired_difference(model: WindowLosses, reference: WindowLosses) -> PairedDifference:
    """Δ bits per byte of `model` against `reference`, with its standard error and 95 % interval.

    Raises:
        DataError: they were not scored on the same windows of the same text.
    """
    return summary_of(window_differences(model, reference))


def against(rows: Sequence[ConversionRow], reference: str) -> ConversionComparison:
    """Every model beside one of them, with the interval of that difference and not of two differences from float.

    Args:
        rows: models that were scored.
        reference: name of one of them, such as `quarot W4A4`, its first word, or its folder or the folder's name.

    Raises:
        DataError: none of them is called so, or several are.
    """
    exact = [row for row in rows if reference in (row.name, row.path)]
    found = exact or [row for row in rows if reference in (row.name.split()[0], Path(row.path).name)]
    if len(found) != 1:
        raise DataError(
            f"{'No model' if not found else f'{len(found)} models'} can be meant by {reference!r}.",
            expected="the name or folder of one: " + ", ".join(dict.fromkeys(row.name for row in rows)),
            received=", ".join(row.path for row in found) or repr(reference),
            fix=f"name its folder, such as {found[0].path}" if found else None,
        )
    (base,) = found
    others = [row for row in rows if row is not base and not row.losses.unlike(base.losses)]
    differences = {row.path: paired_difference(row.losses, base.losses) for row in others}
    return ConversionComparison(reference=base.name, path=base.path, differences=differences)


def window_differences(model: WindowLosses, reference: WindowLosses) -> list[float]:
    """Bits per byte that `model` costs more than `reference`, window by window.

    Raises:
        DataError: they were not scored on the same windows of the same text.
    """
    if model.unlike(reference):
        raise DataError(
            "Only scores of the same windows can be put in pairs.",
            expected=f"{len(reference.nats)} windows of {reference.window} tokens of {reference.text!r}",
            received=f"{len(model.nats)} windows of {model.window} tokens of {model.text!r}",
            cause="the texts, windows or tokenizers differ",
            fix="score both models with the same settings",
        )
    unit = math.log(2) * reference.bytes_per_token
    return [(own - base) / unit for own, base in zip(model.nats, reference.nats, strict=True)]


def summary_of(differences: Sequence[float]) -> PairedDifference:
    """Mean, standard error and 95 % interval by Student's t; NaN for the error of a single one."""
    count, mean = len(differences), fmean(differences)
    if count < 2:
        return PairedDifference(delta=mean, standard_error=math.nan, low=math.nan, high=math.nan, windows=count)
    error = stdev(differences) / math.sqrt(count)
    reach = student_t(count - 1) * error
    return PairedDifference(delta=mean, standard_error=error, low=mean - reach, high=mean + reach, windows=count)


def student_t(degrees: int) -> float:
    """The 97.5 % point of Student's t, to about one part in a thousand.

    Source: Abramowitz and Stegun 1964, 26.7.5.
    """
    if degrees in _SMALL:
        return _SMALL[degrees]
    z, n = NormalDist().inv_cdf(0.975), degrees
    terms = (
        (z**3 + z) / (4 * n),
        (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2),
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * n**3),
    )
    return z + sum(terms)
