"""The token sequences a conversion is calibrated on: segments of the training text, drawn by a seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from darkit_nb.errors import DataError


def calibration_segments(tokens: npt.NDArray[Any], *, samples: int, length: int, seed: int) -> npt.NDArray[np.int64]:
    """Segments of a run of tokens, `[samples, length]`, each beginning at a place of its own drawn by `seed`.

    They may overlap, as in the published protocols, but no two are the same.

    Args:
        tokens: Token ids [N], usually memory-mapped.
        samples: Number of segments.
        length: Tokens of each.
        seed: Of the places.

    Raises:
        DataError: there are fewer places than samples.
    """
    places = len(tokens) - length + 1
    if places < samples:
        raise DataError(
            "The calibration text is too short.",
            expected=f"{samples} different segments of {length} tokens, at least {samples + length - 1} tokens",
            received=f"{len(tokens)} tokens",
            fix="give a longer text, or lower samples or sample_length",
        )
    starts = np.random.default_rng(seed).choice(places, size=samples, replace=False)
    return np.stack([np.asarray(tokens[start : start + length], dtype=np.int64) for start in starts])
