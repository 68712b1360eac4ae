"""How a measurement is made here: correct first, rivals interleaved in one process, ratios with their spread.

A benchmark is a module `benchmarks/<name>.py` with

    def run(quick: bool) -> Iterator[dict]

that yields rows, usually built with `compare`, and with `DEVICE = "cuda"` where it needs such a device. The runner
stamps each row with commit, machine and versions and appends it to `benchmarks/results/<name>.jsonl`. Rows are never
rewritten: a figure in a document names the row it comes from. What a machine cannot measure is a row that says so.

Modules that a wheel carries (pyproject.toml lists them) import one another relatively: there they are
`darkit_nb.benchmarks`.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"


def compare(
    rivals: Mapping[str, Callable[[], Any]],
    *,
    agree: Callable[[Mapping[str, Any]], None],
    rounds: int = 20,
    warm_up: int = 2,
    synchronise: Callable[[], None] | None = None,
) -> dict[str, Any]:
    """Time rivals that do the same work; the first one named is the baseline.

    Args:
        rivals: what to time, by name.
        agree: gets one result of each rival by name and raises when they do not do the same work. It runs before
            anything is timed: a fast wrong answer has no time.
        rounds: how often each rival runs. Every round runs all of them, in an order that rotates, so that drift of the
            machine falls on all alike.
        warm_up: untimed rounds before.
        synchronise: waits for an accelerator, called around every timed run.

    Returns:
        `rounds`, `seconds` by rival (median, 10th and 90th percentile) and `ratio` by rival to the baseline of the same
        round (median, 10th and 90th percentile; below 1 is faster).
    """
    names, wait = list(rivals), synchronise or (lambda: None)
    agree({name: rival() for name, rival in rivals.items()})
    for _ in range(warm_up):
        for rival in rivals.values():
            rival()
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            wait()
            start = time.perf_counter()
            rivals[name]()
            wait()
            seconds[name].append(time.perf_counter() - start)
    ratios = {name: [own / base for own, base in zip(seconds[name], seconds[names[0]], strict=True)] for name in names}
    return {
        "rounds": rounds,
        "seconds": {name: spread(values) for name, values in seconds.items()},
        "ratio": {name: spread(values) for name, values in ratios.items() if name != names[0]},
    }


def fraction_of_limit(measured: Mapping[str, Any], limits: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """How near rivals came to what the memory allows.

    Args:
        measured: what `compare` returned, its baseline being one copy (every byte read and written once).
        limits: least time each rival can take, in copies: its counted bytes divided by those of the copy.

    Returns:
        By rival the limit in copies and its fraction, limit / measured: 1 is as fast as the memory.
    """
    return {
        name: {"copies": _short(limit), "fraction": _short(limit / measured["ratio"][name]["median"])}
        for name, limit in limits.items()
        if name in measured["ratio"]
    }


def not_measured(operation: str, reason: str, **facts: Any) -> dict[str, Any]:
    """A row that says what was not measured here, and why."""
    return {"operation": operation, **facts, "not_measured": reason}


def spread(values: list[float]) -> dict[str, float]:
    """Median with 10th and 90th percentile, to four digits; a single value is all three."""
    cuts = statistics.quantiles(values, n=10, method="inclusive") if len(values) > 1 else [values[0]] * 9
    return {"median": _short(statistics.median(values)), "p10": _short(cuts[0]), "p90": _short(cuts[8])}


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def provenance(device: str = "cpu") -> dict[str, Any]:
    """What a reader needs to judge a row: when, which commit, which machine, which versions."""
    import torch

    cuda = torch.cuda.get_device_name() if device != "cpu" and torch.cuda.is_available() else None
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "--short", "HEAD"),
        "changed": bool(_git("status", "--porcelain", "--", "darkit_nb", "kernels", "benchmarks/*.py")),
        "device": cuda or _cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def record(name: str, row: Mapping[str, Any], *, results: Path = RESULTS) -> dict[str, Any]:
    """Append one row, stamped, to `<results>/<name>.jsonl`, and return it."""
    stamped = {"benchmark": name, **provenance(row.get("on", "cpu")), **row}
    results.mkdir(parents=True, exist_ok=True)
    with (results / f"{name}.jsonl").open("a") as file:
        file.write(json.dumps(stamped, ensure_ascii=False) + "\n")
    return stamped


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S607
    except (OSError, subprocess.CalledProcessError):
        return ""  # an archive without history still gives timings
    return done.stdout.strip()


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()
