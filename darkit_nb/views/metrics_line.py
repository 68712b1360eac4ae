"""One line of `metrics.jsonl` as one line of text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from darkit_nb.views.numbers import percent, short, significant

_KNOWN = {
    "train": (
        ("loss", lambda v: f"loss {v:.4f}"),
        ("learning_rate", lambda v: f"lr {v:.2e}"),
        ("grad_norm", lambda v: f"|g| {significant(v)}"),
        ("tokens_per_s", lambda v: f"{short(v)} tokens/s"),
        ("memory_bytes", lambda v: f"{short(v)}B"),
    ),
    "evaluation": (
        ("loss", lambda v: f"loss {v:.4f}"),
        ("perplexity", lambda v: f"perplexity {significant(v, 4)}"),
        ("bits_per_byte", lambda v: f"{v:.3f} bits per byte"),
    ),
    "spikes": (
        ("firing_rate", lambda v: f"fires {percent(v)}"),
        ("silent_share", lambda v: f"silent {percent(v)}"),
        ("ac_unary", lambda v: f"{short(v)} AC unary"),
        ("ac_bitwise", lambda v: f"{short(v)} AC bitwise"),
        ("dense_macs", lambda v: f"{short(v)} MAC dense"),
    ),
}


def metrics_line(record: Mapping[str, Any]) -> str:
    """The step, the kind and the values a reader looks for; values that are missing or null are left out.

    A kind this version does not know shows its plain numbers.
    """
    kind = str(record.get("kind", "metrics"))
    known = _KNOWN.get(kind)
    if known is not None:
        shown = [write(record[key]) for key, write in known if record.get(key) is not None]
    else:
        shown = [
            f"{key} {short(value)}"
            for key, value in record.items()
            if isinstance(value, int | float) and not isinstance(value, bool) and key != "step"
        ]
    step = f"step {record['step']}" if "step" in record else ""
    return "  ".join(filter(None, [step, kind, *shown]))
