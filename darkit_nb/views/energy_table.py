"""What a token costs, in every reading, with what it rests on."""

from __future__ import annotations

from darkit_nb.records.energy import EnergyReport, FloatPart
from darkit_nb.views.numbers import short, significant
from darkit_nb.views.table import WIDTH, TableView

NO_BREAK = "\N{NO-BREAK SPACE}"


def energy_table(report: EnergyReport, *, width: int = WIDTH) -> str:
    """`energy_view` as text of `width` columns."""
    return energy_view(report).to_text(width)


def energy_view(report: EnergyReport) -> TableView:
    """Energy per token: arithmetic alone, with memory, and against dense float16."""
    base = report.reading("float16")
    top = max(reading.total_pj for reading in report.readings)
    size, unit = next((size, unit) for size, unit in ((1e9, "mJ"), (1e6, "µJ"), (1e3, "nJ"), (1, "pJ")) if top >= size)
    rows = tuple(
        (
            reading.name,
            short(reading.operations),
            *(
                significant(value / size)
                for value in (
                    reading.layers_pj,
                    reading.encoding_pj + reading.float_pj,
                    reading.memory_pj,
                    reading.total_pj,
                )
            ),
            significant(reading.compute_pj / base.compute_pj),
            significant(reading.total_pj / base.total_pj),
        )
        for reading in report.readings
    )
    return TableView(
        title=f"Energy per token in {unit}, context {report.window} tokens",
        headers=("spiking layers as", "ops", "layers", "rest", "memory", "total", "÷fp16*", "÷fp16"),
        rows=rows,
        notes=(*verdict(report), *_grounds(report), _stays_float(report.float_parts)),
    )


def verdict(report: EnergyReport) -> tuple[str, ...]:
    """What the numbers say, spiking against the two networks it has to beat."""
    lines = []
    for key, how in (("unary", "as unit events"), ("bitwise", "as set bits")):
        spikes = report.reading(key)
        against = [
            _compared(spikes.total_pj / report.reading(rival).total_pj, name)
            for rival, name in (("float16", "dense float16"), ("integer", "the equal-bit integer network"))
        ]
        lines.append(f"Spikes {how}: {' and '.join(against)}, memory included.")
    return tuple(lines)


def _compared(ratio: float, rival: str) -> str:
    if 0.995 <= ratio < 1.005:
        return f"the same energy as {rival}"
    return f"{significant(ratio)} × the energy of {rival}"


def _grounds(report: EnergyReport) -> tuple[str, ...]:
    c = report.constants
    return (
        "layers: arithmetic of the layers that spike; dense ones skip no zero. rest: encoding, and what stays "
        "float, in float16 beside integers and spikes. ÷fp16: total against dense float16; with *, arithmetic alone.",
        f"45 nm, Horowitz 2014, pJ: float32 add {c.float32_add:g} mul {c.float32_multiply:g}; float16 "
        f"{c.float16_add:g}, {c.float16_multiply:g}; int8 {c.int8_add:g}, {c.int8_multiply:g}; memory per byte: "
        f"local {c.local_pj_per_byte:g}, shared {c.shared_pj_per_byte:g}, off-chip {c.dram_pj_per_byte:g}.",
        f"Interpolated: other integer widths. Assumed: an exp, division or root is {c.special:g} multiply-adds; one "
        f"operand read per operation; weights fetched once per {short(report.tokens_per_weight_load)} tokens; keys "
        "and values stay on chip.",
    )


def _stays_float(parts: tuple[FloatPart, ...]) -> str:
    origins = {"hooks": "", "config": "†", "spikes": "‡"}
    named = ", ".join(
        f"{part.name}{origins[part.origin]} {short(part.operations)}".replace(" ", NO_BREAK)
        if part.operations
        else f"{part.name} (lookup)"
        for part in parts
    )
    return f"Stays float, operations per token: {named}. († from the configuration, ‡ from the spikes, else hooks.)"
