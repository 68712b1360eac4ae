"""A conversion in tables: the plan, the blocks as they are done, and every pipeline beside the others."""

from __future__ import annotations

from collections.abc import Sequence

from darkit_nb.records.conversion import BlockReport, ConversionPlan
from darkit_nb.records.conversion_result import ConversionComparison, ConversionCost, ConversionRow
from darkit_nb.records.energy import SPIKING_READING
from darkit_nb.records.paired import PairedDifference
from darkit_nb.views.numbers import duration, percent, short, significant
from darkit_nb.views.table import TableView

RESULT_HEADERS = ("model", "perplexity", "Δ bits/byte", "steps", "code", "stored", "ACE", "÷int", "took")


def plan_view(plan: ConversionPlan) -> TableView:
    """What a conversion will take."""
    unknown = "not known on this machine"
    return TableView(
        title=f"Plan: {plan.source}, {plan.architecture}",
        headers=("what", "how much"),
        rows=(
            ("decoder blocks", str(plan.blocks)),
            ("parameters", short(plan.parameters)),
            ("memory for weights", _size(plan.resident_bytes)),
            ("memory for cached activations", _size(plan.cache_bytes)),
            *((("memory for scoring", _size(plan.scoring_bytes)),) if plan.scoring_bytes else ()),
            ("disk", _size(plan.disk_bytes)),
            ("time", unknown if plan.seconds_estimate is None else f"about {duration(plan.seconds_estimate)}"),
        ),
        notes=plan.lines,
    )


def block_view(reports: Sequence[BlockReport], blocks: int | None = None) -> TableView:
    """One row per finished block.

    Args:
        reports: in order.
        blocks: how many there will be, for the title.
    """
    rows = tuple(_block_row(report) for report in reports)
    resumed = sum(report.resumed for report in reports)
    notes = (
        "error: ‖y_q − y‖² / ‖y‖² of the block's output on the calibration text, errors of earlier blocks included. "
        "own: what this block alone adds.",
    )
    return TableView(
        title=f"{len(rows)} of {blocks or len(rows)} blocks",
        headers=("block", "error", "own", "worst layer", "steps", "stored", "took"),
        rows=rows,
        notes=(*notes, f"{resumed} taken over from an earlier start.") if resumed else notes,
    )


def _block_row(report: BlockReport) -> tuple[str, ...]:
    worst = max(report.layers, key=lambda layer: layer.error, default=None)
    macs = sum(layer.macs for layer in report.layers) or 1
    return (
        report.name,
        percent(report.error),
        "–" if report.own_error is None else percent(report.own_error),
        "–" if worst is None else f"{worst.name.rpartition('.')[2]} {percent(worst.error)}",
        significant(sum(layer.mean_steps * layer.macs for layer in report.layers) / macs),
        f"{significant(sum(layer.storage_bits * layer.macs for layer in report.layers) / macs)} bit",
        duration(report.seconds),
    )


def result_view(rows: Sequence[ConversionRow], comparison: ConversionComparison | None = None) -> TableView:
    """Every model that was scored on the same text, the float one among them.

    Args:
        rows: the models.
        comparison: puts the others beside one of them, in a column behind that against float.
    """
    base = next((row for row in rows if comparison is not None and row.path == comparison.path), None)
    texts = {(row.losses.text, row.losses.window, len(row.losses.nats)) for row in rows}
    on = ", ".join(f"{text}, {windows} windows of {window} tokens" for text, window, windows in sorted(texts))
    return TableView(
        title=f"{len(rows)} {'model' if len(rows) == 1 else 'models'} on {on or 'no text'}",
        headers=RESULT_HEADERS[:3] + (() if comparison is None else ("against*",)) + RESULT_HEADERS[3:],
        rows=tuple(_result_row(row, comparison, base) for row in rows),
        notes=(
            *_against_note(comparison),
            "perplexity: per token, windows that do not overlap, each scored from its second token. Δ: against "
            "float on the same windows, ± half of the 95 % interval, paired by window. steps: spike steps of an "
            "activation. code: bits of information of one. stored: bits of a weight on disk, scales and masks "
            "included. ACE: weight bits × bits of a step × steps; 256 is float16. ÷int: energy of the spikes, as "
            "unit events, against the equal-bit integer network; above 1 the spikes cost more.",
        ),
    )


def _against_note(comparison: ConversionComparison | None) -> tuple[str, ...]:
    if comparison is None:
        return ()
    return (
        f"*against {comparison.reference}: bits per byte more than it on the same windows, ± half of the 95 % interval "
        "of that difference; below 0 is better, and an interval that holds 0 shows no difference.",
    )


def _result_row(
    row: ConversionRow, comparison: ConversionComparison | None, base: ConversionRow | None
) -> tuple[str, ...]:
    took = "–" if row.seconds is None else duration(row.seconds)
    beside = () if comparison is None else (_beside(row, comparison, base),)
    return (row.name, significant(row.losses.perplexity, 4), lost(row.delta), *beside, *_cost_cells(row.cost), took)


def _beside(row: ConversionRow, comparison: ConversionComparison, base: ConversionRow | None) -> str:
    """What it costs more than the one all are put beside, or why that cannot be said."""
    found = comparison.differences.get(row.path)
    why = row.losses.unlike(base.losses) if found is None and base is not None else ""
    return f"– ({why})" if why else lost(found)


def _cost_cells(cost: ConversionCost | None) -> tuple[str, ...]:
    if cost is None:
        return ("–", "16", "16", "256", "–")
    against = energy_against_integers(cost)
    return (
        f"{cost.mean_steps:.4g}",
        f"{cost.code_bits:.4g}",
        f"{cost.storage_bits:.4g}",
        f"{cost.ace:.4g}",
        "–" if against is None else significant(against),
    )


def energy_against_integers(cost: ConversionCost) -> float | None:
    """Energy of a token in unit events over that of the equal-bit integer network; None with float activations."""
    if cost.energy is None:
        return None
    return cost.energy.reading(SPIKING_READING).total_pj / cost.energy.reading("integer").total_pj


def lost(delta: PairedDifference | None) -> str:
    """Bits per byte lost, with half the width of the 95 % interval where there is one."""
    return "–" if delta is None else str(delta)


def _size(size: float) -> str:
    return f"{short(float(size))}B"
