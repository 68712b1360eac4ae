"""Writes docs/conversion-table.md, what conversions lose, from the rows: `python -m benchmarks.conversion_table`.

Of rows scored on different numbers of windows those with the most are shown: their intervals are narrower.
Windows that settings were chosen on are scored, and left out here.
Δ is the mean over seeds and windows. Its 95 % interval counts both: windows, whose differences are averaged over seeds
first because all seeds are scored on the same windows, and seeds, by the spread of their means.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np

from benchmarks.conversion_methods import all_methods, changed
from benchmarks.harness import RESULTS, ROOT
from darkit_nb.evaluate.paired import student_t

PAGE = ROOT / "docs" / "conversion-table.md"
RESAMPLES = 4000
TUNED_MODEL, TUNED = "novel-llama", range(64, 104)
"""Settings of `darkit` were chosen on these 40 windows of this model (docs/decisions/2026-11-22-conversion.md)."""
_PARTS = ("model", "planting", "method", "seed", "rotation_seed")
HEADERS = ("method", "steps", "code", "stored", "ACE", "Δ bits/byte", "95 %", "seeds")


def rows(results: Path = RESULTS) -> list[dict[str, Any]]:
    """The newest row of every combination; of a method whose settings have changed only those of its newest ones."""
    file = results / "conversion.jsonl"
    lines = file.read_text().splitlines() if file.is_file() else []
    found = [row for row in map(json.loads, lines) if "key" in row]
    settings = {(row["method"], windows(row)): row["settings"] for row in found}
    current = [_judged(row) for row in found if row["settings"] == settings[row["method"], windows(row)]]
    stored = {_layers(row): row["storage_bits"] for row in sorted(current, key=lambda row: row.get("time", ""))}
    current = [{**row, "storage_bits": stored[_layers(row)]} for row in current]
    return list({(windows(row), *(row[part] for part in _PARTS)): row for row in current}.values())


def _layers(row: dict[str, Any]) -> tuple[str, ...]:
    """Equal for rows whose layers are stored alike. Older ones did not count masks and rotations."""
    return row["model"], row["method"]


def _judged(row: dict[str, Any]) -> dict[str, Any]:
    """The row without the windows that settings were chosen on."""
    if row["model"] != TUNED_MODEL:
        return row
    return {**row, "differences": [each for place, each in enumerate(row["differences"]) if place not in TUNED]}


def windows(row: dict[str, Any]) -> int:
    """How many held-out windows the row was scored on."""
    return len(row["differences"])


def summary(group: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean and 95 % interval over the seeds and windows of one method.

    The variance of the mean is that of windows, s²_w / n_w, plus that of seeds, s²_s / n_s. With one seed the interval
    speaks of windows only. `wikitext` is the mean perplexity on WikiText-2, None where the model was not scored there.
    """
    differences = np.array([row["differences"] for row in group])
    seeds, windows = differences.shape
    by_window, by_seed = differences.mean(0), differences.mean(1)
    variance = float(by_window.var(ddof=1)) / windows
    reach = student_t(windows - 1) * math.sqrt(variance)
    if seeds > 1:
        between = stdev(by_seed.tolist()) / math.sqrt(seeds)
        reach = math.hypot(reach, student_t(seeds - 1) * between)
    mean = float(differences.mean())
    costs = {name: fmean(row[name] for row in group) for name in ("mean_steps", "code_bits", "storage_bits", "ace")}
    long = [row["wikitext"]["perplexity"] for row in group if "wikitext" in row]
    return {
        "delta": mean,
        "low": mean - reach,
        "high": mean + reach,
        "seeds": seeds,
        "wikitext": fmean(long) if long else None,
        **costs,
    }


def ratio(top: Sequence[dict[str, Any]], bottom: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Loss of one method over that of another one, with the ends of its 95 % interval.

    By resampling windows, the same ones for both methods, and seeds, 4 000 times. Seeds that both methods have are
    compared alone, if there are any.
    """
    one, other = (np.array([row["differences"] for row in group]) for group in _shared(top, bottom))
    draw = np.random.default_rng(0)
    found = []
    for _ in range(RESAMPLES):
        windows = draw.integers(0, one.shape[1], one.shape[1])
        a, b = (each[draw.integers(0, len(each), len(each))][:, windows].mean() for each in (one, other))
        found.append(a / b)
    low, high = np.quantile(found, [0.025, 0.975])
    return {"ratio": float(one.mean() / other.mean()), "low": float(low), "high": float(high)}


def _shared(*groups: Sequence[dict[str, Any]]) -> Sequence[Sequence[dict[str, Any]]]:
    """Rows of the seeds of calibration and rotation that all groups have; of those of calibration where one of them
    does not rotate; all rows where there are none."""
    for names in (("seed", "rotation_seed"), ("seed",)):
        common = set.intersection(*({tuple(row[name] for name in names) for row in group} for group in groups))
        kept = [[row for row in group if tuple(row[name] for name in names) in common] for group in groups]
        if all(kept):
            return kept
    return groups


def grouped(found: Sequence[dict[str, Any]]) -> dict[tuple[str, str, int], dict[str, list[dict[str, Any]]]]:
    """Rows by (model, planting, windows), and there by method."""
    tables: dict[tuple[str, str, int], dict[str, list[dict[str, Any]]]] = {}
    for row in found:
        tables.setdefault((row["model"], row["planting"], windows(row)), {}).setdefault(row["method"], []).append(row)
    return tables


CLAIMS = (
    ("darkit W4A4", "quarot W4A4", "at most 0.8 at the upper end"),
    ("darkit W4A4", "spikellm-omniquant W4A4", "at most 0.25 at the upper end"),
    ("darkit W4A4", "the same weights at A5", "below 1, were the extra steps the best use of bits"),
    ("darkit, no subspace, no spikes", "quarot W4A4", "below 1"),
    ("darkit W4A4", "flatquant W4A4", "below 1"),
    ("spikellm-omniquant W4A4", "omniquant W4A4", "below 1"),
    ("spikellm-omniquant W4A4", "the same trained, no spikes", "below 1"),
    ("spikellm-omniquant W4A4", "the same trained, widest tokens at A5", "below 1"),
    ("spikellm-omniquant W4A4", "spikellm-omniquant, random features", "below 1"),
    ("spikellm-omniquant W4A4", "the same trained, own range, no extra step", "below 1"),
    ("ternary, T=2 on 40 %", "PB-LLM, 10 % at 8 bits", "below 1"),
    ("ternary, T=2 on 40 %", "PB-LLM, 20 % at 8 bits", "below 1"),
    ("darkit W2A16", "quarot W2A16", "below 1"),
    ("darkit, plain INT8 on the subspace", "darkit W4A4", "1"),
)


def text(found: Sequence[dict[str, Any]]) -> str:
    """The table of the most windows of every model and planting, and below each what the claims come to."""
    parts = []
    tables = grouped(found)
    for (model, planting, scored), methods in sorted(tables.items()):
        if scored < max(each for *key, each in tables if key == [model, planting]):
            continue
        one = next(iter(methods.values()))[0]
        peaks = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in one["outliers"].items())
        settings = one["settings"]
        parts.append(
            f"### {model} ({one['parameters']:,} parameters), outliers planted: {planting}, {scored} windows\n\n"
            f"Float {one['float_bits_per_byte']:.4f} bits per byte, perplexity {one['float_perplexity']:.2f}; {peaks}. "
            f"{settings['samples']} × {settings['length']} calibration tokens.\n"
        )
        headers = (*HEADERS, *([f"WikiText-2, float {base:.2f}"] if (base := _float_wikitext(methods)) else []))
        parts.append("| " + " | ".join(headers) + " |\n|" + "---|" * len(headers))
        parts += [_line(name + _mark(name, group), summary(group)) for name, group in _in_order(methods)]
        parts += ["", *_claims(methods), ""]
    return "\n".join(parts)


def _in_order(methods: dict[str, list[dict[str, Any]]]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Methods as `all_methods` lists them, behind them those it no longer knows."""
    known = {method.name: place for place, method in enumerate(all_methods())}
    return sorted(methods.items(), key=lambda item: known.get(item[0], len(known)))


def _float_wikitext(methods: dict[str, list[dict[str, Any]]]) -> float | None:
    """Perplexity of the float model on WikiText-2, where rows have it."""
    found = [row["wikitext"]["float_perplexity"] for group in methods.values() for row in group if "wikitext" in row]
    return found[0] if found else None


def _mark(name: str, group: Sequence[dict[str, Any]]) -> str:
    """Whether the method's settings have changed since its rows were made."""
    now = {method.name: changed(method.spec) for method in all_methods()}
    return "" if group[0]["settings"].get("spec") == now.get(name) else " (settings since changed)"


def _line(name: str, each: dict[str, Any]) -> str:
    interval = f"{each['low']:+.4f} … {each['high']:+.4f}"
    cells = (f"{each[key]:.4g}" for key in ("mean_steps", "code_bits", "storage_bits", "ace"))
    long = "" if each["wikitext"] is None else f" {each['wikitext']:.2f} |"
    return f"| {name} | {' | '.join(cells)} | {each['delta']:+.4f} | {interval} | {each['seeds']} |{long}"


def _claims(methods: dict[str, list[dict[str, Any]]]) -> list[str]:
    lines = []
    for top, bottom, wanted in CLAIMS:
        if top in methods and bottom in methods:
            found = ratio(methods[top], methods[bottom])
            shown = f"{found['ratio']:.2f} ({found['low']:.2f} … {found['high']:.2f})"
            lines.append(f"- {top} loses {shown} × what {bottom} loses; wanted: {wanted}.")
    return lines


HEAD = f"""# What conversions lose

Written from [rows](../benchmarks/results/conversion.jsonl) by `python -m benchmarks.conversion_table`; what follows
from them stands in [the decision on conversion](decisions/2026-11-22-conversion.md).

Δ is what a conversion loses against its float model on held-out novels, in bits per byte, in windows of 256 tokens;
its 95 % interval counts windows and, where there are several, pairs of seeds (calibration, rotation). Steps: spike
steps an input. Code: bits of information in them. Stored: bits a weight takes on disk, with its scales, masks and
signs, as the newest row counts them. ACE: Σ of multiply-accumulates × bits of the weight × bits of the activation,
by multiply-accumulates. Outliers are those the model has by itself (`none`) or planted without changing what it
computes: `diag` in the gains of norms, `pca` in the residual stream, or both. Of the 256 windows of `{TUNED_MODEL}`
those {len(TUNED)} are left out on which settings of `darkit` were chosen. Ratios have their 95 % interval by resampling
windows and seeds.

"""


def page() -> str:
    """The page as the rows have it."""
    return HEAD + text(rows())


if __name__ == "__main__":
    PAGE.write_text(page())
