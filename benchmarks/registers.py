"""Registers and spills of the CUDA kernels, as nvcc's assembler reports them: no GPU is needed.

A row is one kernel for one generation and dtype. Compiled is a set of specialisations in which every value of every
setting meets every dtype; DARKIT_VARIANTS=all takes all of them. Without nvcc there are no rows.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.variants import ARCHITECTURES, DTYPES, FUNCTIONS, compiled, covering, variants

AT_A_TIME = 8
"""Specialisations in one source: a longer one gains nothing."""


def measure(nvcc: str, kernel: str, architecture: int, x: int, folder: Path, *, all_of_them: bool) -> dict[str, Any]:
    """One row."""
    chosen = [variant for variant in variants(kernel) if variant["X"] == x]
    chosen = chosen if all_of_them else covering(chosen)
    found: list[tuple[int, int]] = []
    for start in range(0, len(chosen), AT_A_TIME):
        found += compiled(nvcc, kernel, chosen[start : start + AT_A_TIME], architecture, folder)
    most = max(range(len(chosen)), key=lambda index: found[index])
    return {
        "kernel": kernel,
        "architecture": f"sm_{architecture}",
        "dtype": DTYPES[x],
        "variants": len(chosen),
        "registers": {"fewest": min(found)[0], "most": found[most][0]},
        "spilled_bytes": sum(spilled for _, spilled in found),
        "heaviest": " ".join(f"{name}={value}" for name, value in chosen[most].items()),
    }


def run(quick: bool) -> Iterator[dict[str, Any]]:
    """One row per kernel, generation and dtype; `quick` compiles the smallest kernel for one generation."""
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        return
    all_of_them = os.environ.get("DARKIT_VARIANTS") == "all"
    with tempfile.TemporaryDirectory() as folder:
        for kernel in ("gif_clip",) if quick else reversed(FUNCTIONS):
            dtypes = sorted({variant["X"] for variant in variants(kernel)})
            for architecture in (90,) if quick else ARCHITECTURES:
                for x in dtypes:
                    yield measure(nvcc, kernel, architecture, x, Path(folder), all_of_them=all_of_them)
