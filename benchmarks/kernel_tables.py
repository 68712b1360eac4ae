"""The tables of `kernels/README.md`: counted bytes, what they take at a GPU's copy bandwidth, what was measured.

`python -m benchmarks.kernel_tables` writes them in; a test holds them to the formulas and the rows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import counted_bytes as counted

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
README = ROOT / "kernels" / "README.md"
BEGIN, END = "<!-- tables: python -m benchmarks.kernel_tables -->", "<!-- end of tables -->"

COPY_BANDWIDTH = {"H100": 3.0e12, "H200": 4.3e12}
"""Bytes a second, read and written ones added, that large copies are taken to reach there; not measured here."""

S, N, R, D, OUTPUTS = 4, 2**24, 2048, 4096, 4096
Line = tuple[str, str, int, str]


def rows(name: str) -> list[dict[str, Any]]:
    """All rows of a benchmark, oldest first."""
    file = RESULTS / f"{name}.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []


def _lines() -> Iterator[Line]:
    """Kernel, formula in bytes a feature or step of a neuron, bytes at the usual size, and dtype and shape."""
    lif, gif, one = f"S={S}, N=2²⁴", f"[{R}, {D}]", f"1 × {D} → {OUTPUTS}"
    for dtype, x in (("bfloat16", 2), ("float32", 4)):
        for spikes, bits in ((f"{dtype} spikes", 8 * x), ("spikes in bytes", 8), ("spikes in bits", 1)):
            moved = counted.neuron_forward(S, N, x, spike_bits=bits)
            yield f"`neuron_scan`, {spikes}", f"x + {bits}/8 + 4/S", moved, f"{dtype}, {lif}"
        yield "`neuron_scan_backward`, S ≤ 8", "3x", counted.neuron_backward(S, N, x), f"{dtype}, {lif}"
        for counts, bits in (("counts in bytes", 8), ("counts in 4 bits", 4)):
            moved = counted.quantise_forward(R, D, x, count_bits=bits)
            yield f"`gif`, {counts}", f"x + {bits}/8 + 8G/D", moved, f"{dtype}, {gif}"
        # What a layer writes in training: values to multiply, centred counts to keep, one bit where a code was clamped.
        training = counted.quantise_forward(R, D, x, count_bits=8 + 8 * x + 1)
        yield "`gif`, values, centred counts, clamped bits", "2x + 9/8 + 8G/D", training, f"{dtype}, {gif}"
        yield "`gif_clip`", "2x + 1/8", counted.quantise_backward_clipped(R, D, x), f"{dtype}, {gif}"
        yield "`gif_backward`", "3x + 8G/D", counted.quantise_backward_range(R, D, x), f"{dtype}, {gif}"
    moved = counted.product_epilogue(R, OUTPUTS, 2)
    yield "`spike_epilogue`", "4 + x an output", moved, f"bfloat16, [{R}, {OUTPUTS}]"
    for bits in (4, 2):
        weights = counted.linear_weights(OUTPUTS, D, weight_bits=bits)
        yield f"`packed_matvec`, {bits} bits", f"{bits}/8 a weight", weights, one
    yield "the same token, weights in bfloat16", "2 a weight", 2 * OUTPUTS * D, one


# Which operation of a GPU's rows, and which rival in it, is one kernel of ours alone.
MEASURED = {
    "`neuron_scan`, {dtype} spikes": ("LIF forward", "ours", (S, N)),
    "`neuron_scan`, spikes in bytes": ("LIF forward", "ours to uint8", (S, N)),
    "`neuron_scan_backward`, S ≤ 8": ("LIF backward", "ours", (S, N)),
    "`gif`, counts in bytes": ("quantise and fire", "ours", (R, D)),
}


def measured(name: str, dtype: str) -> str:
    """The fraction of the limit in the last row of a GPU for this line, or that there is none."""
    for pattern, (operation, rival, shape) in MEASURED.items():
        if pattern.format(dtype=dtype) != name:
            continue
        for row in reversed(rows("kernels_cuda")):
            same = row.get("operation") == operation and row.get("shape") == list(shape) and row.get("dtype") == dtype
            if same and rival in row.get("limit", {}):
                return f"{row['limit'][rival]['fraction']:.2f} ({row['device']}, `{row['commit']}`)"
    return "not measured"


def gpu_table() -> str:
    """Counted bytes and roofline times."""
    heads = [f"{name}, roofline" for name in COPY_BANDWIDTH]
    lines = [f"| Kernel | bytes an element | size | moved | {' | '.join(heads)} | of the limit, measured |"]
    lines.append("|---|---|---|---|" + "---|" * (len(heads) + 1))
    for name, formula, moved, where in _lines():
        times = [f"{moved / bandwidth * 1e6:.1f} µs" for bandwidth in COPY_BANDWIDTH.values()]
        found = measured(name, where.split(",")[0])
        lines.append(f"| {name} | {formula} | {where} | {moved / 1e6:.1f} MB | {' | '.join(times)} | {found} |")
    return "\n".join(lines)


def _cpu_limit(row: dict[str, Any]) -> float | None:
    """Counted bytes of an operation of the CPU rows (float32), in copies of its input."""
    if "neurons" in row:
        steps, neurons = row["steps"], row["neurons"]
        forward = counted.neuron_forward(steps, neurons, 4, spike_bits=32)
        both = forward + counted.neuron_backward(steps, neurons, 4)
        least = {
            "LIF forward": forward,
            "LIF forward to uint8": counted.neuron_forward(steps, neurons, 4, spike_bits=8),
            "LIF forward to bits": counted.neuron_forward(steps, neurons, 4, spike_bits=1),
            "LIF forward and backward": both,
        }
        return least[row["operation"]] / counted.copy(steps * neurons, 4) if row["operation"] in least else None
    operation = str(row["operation"])
    shape = row.get("rows", 0), row.get("features", 0)
    if operation.startswith("quantise and fire"):
        return counted.quantise_forward(*shape, 4, count_bits=8) / counted.copy(shape[0] * shape[1], 4)
    if operation == "quantise, forward and backward through the range":
        moved = counted.quantise_forward(*shape, 4, count_bits=32) + counted.quantise_backward_range(*shape, 4)
        return moved / counted.copy(shape[0] * shape[1], 4)
    return None


def cpu_table() -> str:
    """The last rows of the CPU library beside the same counted bytes."""
    last: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows("kernels_cpu"):
        facts = (row.get(key) for key in ("operation", "steps", "neurons", "rows", "features", "threads"))
        last[tuple(facts)] = row
    lines = ["| Operation, float32 | size | threads | limit, copies | measured, copies | of the limit | row |"]
    lines.append("|---|---|---|---|---|---|---|")
    for row in last.values():
        limit, ratio = _cpu_limit(row), row["ratio"].get("native", {}).get("median")
        if limit is None or ratio is None:
            continue
        size = f"S={row['steps']}, N={row['neurons']:,}" if "neurons" in row else f"[{row['rows']}, {row['features']}]"
        found = f"{limit:.2f} | {ratio:.2f} | {limit / ratio:.2f} | `{row['commit']}`"
        lines.append(f"| {row['operation']} | {size} | {row['threads']} | {found} |")
    return "\n".join(lines)


def register_table() -> str:
    """Registers of a thread by kernel and generation, over all compiled specialisations and dtypes."""
    found: dict[str, dict[str, list[dict[str, Any]]]] = {}
    last = {(row["kernel"], row["architecture"], row["dtype"]): row for row in rows("registers")}
    for (kernel, architecture, _), row in sorted(last.items()):
        found.setdefault(kernel, {}).setdefault(architecture, []).append(row)
    names = sorted({name for each in found.values() for name in each}, key=lambda name: int(name[3:]))
    lines = [f"| Kernel | {' | '.join(names)} | specialisations | spilled bytes |"]
    lines.append("|---" * (len(names) + 3) + "|")
    for kernel, each in found.items():
        ends = [_range_of(each[name]) if name in each else "not compiled" for name in names]
        everyone = [row for listed in each.values() for row in listed]
        count, spilled = sum(row["variants"] for row in everyone), sum(row["spilled_bytes"] for row in everyone)
        lines.append(f"| `{kernel}` | {' | '.join(ends)} | {count} | {spilled} |")
    return "\n".join(lines)


def _range_of(listed: list[dict[str, Any]]) -> str:
    fewest, most = (func(row["registers"][end] for row in listed) for func, end in ((min, "fewest"), (max, "most")))
    return f"{fewest}–{most}"


def tables() -> str:
    """Everything between the markers."""
    titles = ("On a GPU", "On a CPU", "Registers of a thread")
    parts = zip(titles, (gpu_table(), cpu_table(), register_table()), strict=True)
    return "\n\n".join(f"### {title}\n\n{table}" for title, table in parts)


def main() -> None:
    """Write the tables into the README of the kernels."""
    text = README.read_text(encoding="utf-8")
    inside = re.compile(f"{re.escape(BEGIN)}.*{re.escape(END)}", re.DOTALL)
    README.write_text(inside.sub(lambda _: f"{BEGIN}\n{tables()}\n{END}", text), encoding="utf-8")


if __name__ == "__main__":
    main()
