"""What the panel of conversions tells its page of a conversion, as plain data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from darkit_nb.records.conversion_progress import ConversionProgress
from darkit_nb.records.conversion_result import ConversionComparison, ConversionRow
from darkit_nb.records.energy import SPIKING_READING

_BLOCKS, _SCORING = 0.8, 0.2
"""Shares of the bar: a conversion is listening and blocks, then the text it is scored on."""


_RECENT = 4
"""Blocks whose time counts: a machine that others use too is not as fast now as it was."""


class ScoringPace:
    """How fast windows are scored, measured from the first word about them to the last."""

    def __init__(self) -> None:
        self._stage: tuple[str, str | None] | None = None
        self._since, self._first = 0.0, 0

    def left(self, progress: ConversionProgress, now: float) -> float | None:
        """Seconds until the model that is being scored is done; None before two words about it."""
        if not progress.active or not progress.windows:
            self._stage = None
            return None
        done, stage = progress.windows_done or 0, (progress.id, progress.stage)
        if stage != self._stage:
            self._stage, self._since, self._first = stage, now, done
        scored = done - self._first
        return (progress.windows - done) * (now - self._since) / scored if scored > 0 else None


class BlockPace:
    """How long a block takes: as the plan says before the first one is done, as the last ones took after it."""

    def __init__(self) -> None:
        self._stage: tuple[str, str | None] | None = None
        self._since = 0.0

    def look(self, progress: ConversionProgress, now: float) -> dict[str, float | bool | None] | None:
        """What is known of it as plain data; None while no block is being converted, or where nothing is known.

        Returns: `block_s` seconds of a block; `since_s` since this one was begun, as far as it was seen; `left` blocks
            with this one; `measured` whether it was measured; `planned_s` and `expected_s` of all blocks, by the plan
            and at the measured pace.
        """
        stage = progress.id, progress.stage
        if stage != self._stage:
            self._stage, self._since = stage, now
        blocks, plan = progress.blocks, progress.plan
        if not progress.active or not blocks or not (progress.stage or "").startswith("block "):
            return None
        own = [report.seconds for report in progress.reports if not report.resumed][-_RECENT:]
        planned = plan.seconds_estimate if plan is not None else None
        block = sum(own) / len(own) if own else None if planned is None else planned / blocks
        if block is None:
            return None
        return {
            "block_s": block,
            "since_s": now - self._since,
            "left": max(0, blocks - progress.blocks_done),
            "measured": bool(own),
            "planned_s": planned,
            "expected_s": block * blocks,
        }


def course_data(
    progress: ConversionProgress, now: float, pace: ScoringPace, blocks: BlockPace | None = None
) -> dict[str, Any]:
    """One conversion as it is now.

    Args:
        progress: as its folder tells it.
        now: seconds since 1970, by the clock of this process.
        pace: what is known of scoring.
        blocks: what is known of the blocks.
    """
    data = progress.to_dict()
    kept = ("id", "name", "source", "out", "state", "place", "reason", "problem", "stage", "blocks_done", "blocks")
    more = ("windows_done", "windows", "elapsed_s")
    reports = [_finite(report) for report in data["reports"]]
    found = {name: data[name] for name in (*kept, *more)}
    if progress.state == "lost" and progress.problem is None:
        found["problem"] = _lost(progress)
    left = pace.left(progress, now)
    at_blocks = left is None and progress.blocks_done < (progress.blocks or 0)
    found |= {"eta_s": progress.eta_s if at_blocks else left, "eta_of": "the blocks" if at_blocks else progress.stage}
    saved = (Path(progress.out) / "config.json").is_file()
    found["pace"] = None if blocks is None or not at_blocks else blocks.look(progress, now)
    return {**found, "reports": reports, "share": _share(progress), "saved": saved, "now": now}


def _lost(progress: ConversionProgress) -> dict[str, str]:
    """What is told of a conversion whose processes are gone without a word."""
    done = progress.blocks_done
    return {
        "message": "The conversion is not at work any more.",
        "received": progress.reason or "no sign of life",
        "cause": "the machine was restarted, or its processes were ended",
        "fix": f"resume it; it goes on after the {done} blocks that are done" if done else "start it again",
    }


def _share(progress: ConversionProgress) -> float | None:
    if progress.state == "finished":
        return 1.0
    if progress.windows:
        return _BLOCKS + _SCORING * (progress.windows_done or 0) / progress.windows
    return None if progress.blocks is None else _BLOCKS * progress.fraction


def _finite(value: Any) -> Any:
    """Numbers that JSON does not have become null."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def rows_data(
    found: Iterable[ConversionProgress],
    source: str,
    also: list[dict[str, Any]],
    comparison: ConversionComparison | None = None,
) -> dict[str, Any]:
    """The table of all conversions of one model, the float model on top.

    Args:
        found: conversions, newest first.
        source: whose conversions are compared.
        also: pipelines it may yet be converted with.
        comparison: what all are put beside; None puts them beside the float model.
    """
    same = [each for each in found if each.source == source]
    base = _base(same, comparison)
    floats = floats_of(same, base)
    rows = [_row(each, comparison, base or (floats[0] if floats else None)) for each in same]
    name = f"{Path(source).name} (float)"
    top = (
        [_measured("float", floats[0], comparison, base, preset="float", state="", name=name) | {"words": ""}]
        if floats
        else []
    )
    order = sorted(rows, key=lambda row: (row["perplexity"] is None, row["perplexity"] or 0.0, row["id"]))
    beside = next((row["id"] for row in rows if row["reference"]), "")
    return {"rows": [*top, *order], "text": _text(floats), "also": also, "against": beside}


def floats_of(found: Iterable[ConversionProgress], base: ConversionRow | None) -> list[ConversionRow]:
    """What the float model scored; first what it scored on the same windows as the model others are put beside."""
    floats = [row for each in found for row in each.rows if row.cost is None]
    return floats if base is None else sorted(floats, key=lambda row: bool(row.losses.unlike(base.losses)))


def _base(found: Iterable[ConversionProgress], comparison: ConversionComparison | None) -> ConversionRow | None:
    """The converted model the others are put beside; None for the float one."""
    path = None if comparison is None else comparison.path
    return next((row for each in found for row in each.rows if row.path == path), None)


def _row(
    progress: ConversionProgress, comparison: ConversionComparison | None, base: ConversionRow | None
) -> dict[str, Any]:
    converted = converted_row(progress)
    preset, words = progress.name.split(" ")[0], state_text(progress)
    if converted is None:
        empty = dict.fromkeys(_NUMBERS)
        own = {"id": progress.id, "name": progress.name, "source": progress.source, "state": progress.state}
        return {**empty, **own, "words": words, "float": False, "preset": preset, "reference": False, "why": ""}
    row = _measured(progress.id, converted, comparison, base, preset=preset, state=progress.state, name=progress.name)
    return {**row, "words": words}


def converted_row(progress: ConversionProgress) -> ConversionRow | None:
    """What the converted model scored; None before it is scored."""
    return next((row for row in progress.rows if row.cost is not None), None)


def state_text(progress: ConversionProgress) -> str:
    """Its state, and its place where it waits for its turn."""
    if progress.state != "queued" or progress.place is None:
        return progress.state
    return "next in the queue" if progress.place == 1 else f"queued, place {progress.place}"


_NUMBERS = (
    "perplexity", "bits_per_byte", "delta", "low", "high", "mean_steps", "code_bits", "storage_bits", "weight_bytes",
    "ace", "energy_pj", "seconds", "peak_bytes",
)  # fmt: skip


def _measured(
    key: str,
    row: ConversionRow,
    comparison: ConversionComparison | None,
    base: ConversionRow | None,
    *,
    preset: str,
    state: str,
    name: str,
) -> dict[str, Any]:
    cost = row.cost
    delta = row.delta if comparison is None else comparison.differences.get(row.path)
    energy = None if cost is None or cost.energy is None else cost.energy.reading(SPIKING_READING).total_pj
    return _finite(
        {
            "id": key,
            "name": name,
            "source": row.source,
            "state": state,
            "float": cost is None,
            "preset": preset,
            "reference": comparison is not None and row.path == comparison.path,
            "perplexity": row.losses.perplexity,
            "bits_per_byte": row.losses.bits_per_byte,
            "delta": None if delta is None else delta.delta,
            "why": row.losses.unlike(base.losses) if delta is None and base is not None else "",
            "low": None if delta is None else delta.low,
            "high": None if delta is None else delta.high,
            "mean_steps": None if cost is None else cost.mean_steps,
            "code_bits": 16.0 if cost is None else cost.code_bits,
            "storage_bits": 16.0 if cost is None else cost.storage_bits,
            "weight_bytes": None if cost is None else cost.weight_bytes,
            "ace": 256.0 if cost is None else cost.ace,
            "energy_pj": energy,
            "seconds": row.seconds,
            "peak_bytes": row.peak_bytes,
        }
    )


def _text(floats: Sequence[ConversionRow]) -> str:
    if not floats:
        return ""
    losses = floats[0].losses
    return (
        f"Scored on {losses.text}: {len(losses.nats)} windows of {losses.window} tokens. ± is half the 95 % interval."
    )
