"""Writes docs/benchmarks.md and its pictures from the rows: `python -m benchmarks.page`.

The page says until when it has read rows; a test writes it again from the rows until then and compares.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks import counted_bytes as counted
from benchmarks.harness import ROOT
from benchmarks.plots import Dot, Group, dot_plot
from benchmarks.report import rows

PAGE = ROOT / "docs" / "benchmarks.md"
Row = dict[str, Any]
MORE = {
    "tokens_per_s": "tokens/s",
    "saved_bytes": "saved for backward",
    "peak_bytes": "peak memory",
    "held_bytes": "memory held",
    "weight_bytes": "memory of weights",
}
"""Columns a row may have besides its times."""
_SHAPES = ("shape", "steps", "neurons", "rows", "features", "outputs", "tokens", "heads", "dtype", "bits")


def latest(name: str, until: str) -> list[Row]:
    """The newest row of every operation and shape until a time, in the order of their first appearance."""
    found: dict[tuple[Any, ...], Row] = {}
    for row in rows(name):
        if row["time"] <= until and not row.get("changed"):
            found[(row["operation"], row.get("preset"), *(str(row.get(key)) for key in _SHAPES))] = row
    measured = {row["operation"] for row in found.values() if "not_measured" not in row}
    return [row for row in found.values() if "not_measured" not in row or row["operation"] not in measured]


def title_of(row: Row) -> str:
    """Operation and shape in one line."""
    shape = "×".join(f"{each:,}" for each in row["shape"]) if "shape" in row else _named(row)
    parts = [row["operation"], row.get("preset"), shape, row.get("dtype"), row.get("bits")]
    return ", ".join(str(part) for part in parts if part)


def _named(row: Row) -> str:
    sizes = [f"{row[key]:,}" for key in ("steps", "rows", "neurons", "features", "outputs") if key in row]
    return "×".join(sizes)


def limits_of(row: Row) -> Mapping[str, float]:
    """Fraction of the limit of each rival: from the row, or its counted bytes against a copy of the same run."""
    if "limit" in row:
        return {name: each["fraction"] for name, each in row["limit"].items()}
    if row.get("benchmark") != "kernels_cpu" or "copy" not in row["seconds"]:
        return {}
    return {name: each / row["ratio"][name]["median"] for name, each in _copies(row).items() if name in row["ratio"]}


def _copies(row: Row) -> dict[str, float]:
    """Least copies of ours on the CPU, whose input is float32."""
    if "neurons" in row:
        steps, neurons = row["steps"], row["neurons"]
        bits = 8 if "uint8" in row["operation"] else 32
        least = counted.neuron_forward(steps, neurons, 4, spike_bits=bits)
        if "backward" in row["operation"]:
            least += counted.neuron_backward(steps, neurons, 4)
        return {"native": least / counted.copy(steps * neurons, 4)}
    if "outputs" in row:
        return {}
    tokens, features = row["rows"], row["features"]
    if "backward" in row["operation"]:
        least = counted.quantise_forward(tokens, features, 4, count_bits=32, groups=2)
        least += counted.quantise_backward_range(tokens, features, 4, groups=2)
    else:
        groups = 1 if "S=1" in row["operation"] else 2
        least = counted.quantise_forward(tokens, features, 4, count_bits=8, groups=groups)
    return {"native": least / counted.copy(tokens * features, 4)}


def table(row: Row) -> Iterator[str]:
    """One row of the results as a table."""
    if "not_measured" in row:
        yield f"**{title_of(row)}**: not measured ({row['not_measured']})."
        return
    baseline = next(iter(row["seconds"]))
    limits = limits_of(row)
    shown = {key: label for key, label in MORE.items() if key in row}
    yield f"**{title_of(row)}** ({row['device']}, {row['threads']} threads, commit {row['commit']}, {row['time'][:10]})"
    yield ""
    head = ["", "median", "10th–90th percentile", f"in {baseline}", "fraction of the limit", *shown.values()]
    yield "| " + " | ".join(head) + " |"
    yield "|---" + "|---:" * (len(head) - 1) + "|"
    for name, seconds in row["seconds"].items():
        ratio = row["ratio"].get(name)
        cells = [
            name,
            _time(seconds["median"]),
            f"{_time(seconds['p10'])}–{_time(seconds['p90'])}",
            "1" if ratio is None else f"{ratio['median']:.3g}",
            f"{limits[name]:.2f}" if name in limits else "",
            *(_amount(key, row[key].get(name)) for key in shown),
        ]
        yield "| " + " | ".join(cells) + " |"


def _time(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def _amount(key: str, value: float | None) -> str:
    if value is None:
        return ""
    return f"{value / 1e6:,.1f} MB" if key.endswith("bytes") else f"{value:,.0f}"


def picture(name: str, title: str, unit: str, chosen: list[Row], folder: Path, value: str) -> str:
    """Draw rows, and return the line that shows the picture; nothing where there is no row."""
    measured = [row for row in chosen if value in row]
    if not measured:
        return ""
    groups = [Group(title_of(row), _dots(row, value)) for row in measured]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.svg").write_text(dot_plot(title, unit, groups))
    return f"![{title}](pictures/{name}.svg)"


def _dots(row: Row, value: str) -> list[Dot]:
    unit = {name: row[value][name] for name in row[value]}
    if value == "ratio":
        baseline = next(iter(row["seconds"]))
        one = {"median": 1.0, "p10": 1.0, "p90": 1.0}
        unit = {baseline: one, **unit}
    return [Dot(name, each["median"], each["p10"], each["p90"]) for name, each in unit.items()]


SECTIONS: tuple[tuple[str, str, str, Callable[[Row], bool], str], ...] = (
    ("Temporal neurons on the CPU", "kernels_cpu", "cpu_neurons", lambda row: "neurons" in row, "copies of the input"),
    (
        "Quantise-and-fire on the CPU",
        "kernels_cpu",
        "cpu_tokens",
        lambda row: "features" in row and "outputs" not in row,
        "copies of the input",
    ),
    (
        "Spiking linear on the CPU",
        "kernels_cpu linear_cpu",
        "cpu_linear",
        lambda row: "outputs" in row or row["benchmark"] == "linear_cpu",
        "of the first rival",
    ),
    ("Attention over a cache of codes on the CPU", "attention_cache", "cpu_attention", lambda row: True, "baseline"),
    ("One training step", "training_step", "training_step", lambda row: True, "steps of ours"),
    (
        "One step of block-wise training",
        "refine_step",
        "refine_step",
        lambda row: True,
        "of the definition",
    ),
    ("On a GPU", "kernels_cuda", "gpu", lambda row: True, "of the first rival"),
)


def page(until: str, folder: Path) -> str:
    """The page from rows until a time; pictures are written to `folder`."""
    lines = [
        "# Benchmarks",
        "",
        f"Written by `python -m benchmarks.page` from [rows](../benchmarks/results) until {until}. What is timed "
        "was checked before: rivals give what the definition gives. They take turns in one process; ratios are to the "
        "first one of the same round, medians with the 10th and 90th percentile. The limit is what the memory allows: "
        "counted bytes at the speed of a copy, 1 being as fast as that, and above 1 where large results go past "
        "the caches, which a copy is not. `darkit-nb bench` measures your machine.",
    ]
    for title, name, drawn, belongs, unit in SECTIONS:
        chosen = [row for each in name.split() for row in latest(each, until) if belongs(row)]
        lines += ["", f"## {title}", ""]
        if not chosen:
            lines.append(f"Not measured yet: `darkit-nb bench {name}`.")
            continue
        shown = picture(drawn, title, unit, chosen, folder, "ratio")
        lines += [shown, ""] if shown else []
        for row in chosen:
            lines += [*table(row), ""]
        lines.pop()
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the page from all rows there are."""
    names = {each for _, name, *_ in SECTIONS for each in name.split()}
    until = max((row["time"] for name in names for row in rows(name)), default="")
    PAGE.write_text(page(until, PAGE.parent / "pictures"))


if __name__ == "__main__":
    main()
