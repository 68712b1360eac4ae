"""Every kernel compiles for every GPU generation CUDA 13 knows, in registers alone."""

from __future__ import annotations

import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from darkit_nb.ops._launch import kernel_source

ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)
# The heaviest settings of each kernel: the longest code of every branch, 16-bit conversions, 64-bit sums.
HEAVIEST = {
    "gif": {"DK_X": 1, "DK_Q": 3, "DK_RANGE": 1, "DK_THREADS": 128},
    "neuron_scan": {"DK_X": 1, "DK_INTEGER": 0, "DK_HARD": 1, "DK_SURROGATE": 6, "DK_DETACH": 0},
    "spike_linear": {"DK_X": 1, "DK_Q": 3, "DK_W": 2, "DK_WIDE": 1},
}
REGISTERS = 80
"""At 128 threads a block, 80 registers still let 6 blocks (24 warps) share a multiprocessor."""


def compile_for(nvcc: str, kernel: str, architecture: int, folder: Path) -> str:
    source = folder / f"{kernel}_{architecture}.cu"
    source.write_text(kernel_source(kernel), encoding="utf-8")
    defines = [f"-D{key}={value}" for key, value in HEAVIEST[kernel].items()]
    command = [nvcc, "-cubin", "-std=c++17", f"-arch=sm_{architecture}", "-Xptxas", "-v", "-Werror", "all-warnings"]
    done = subprocess.run(
        [*command, *defines, str(source), "-o", str(source.with_suffix(".cubin"))], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.mark.parametrize("kernel", sorted(HEAVIEST))
def test_compiles_for_every_architecture_without_spills(nvcc: str, kernel: str, tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        reports = list(pool.map(lambda architecture: compile_for(nvcc, kernel, architecture, tmp_path), ARCHITECTURES))
    for architecture, report in zip(ARCHITECTURES, reports, strict=True):
        spills = [int(found) for found in re.findall(r"(\d+) bytes (?:stack frame|spill stores|spill loads)", report)]
        registers = [int(found) for found in re.findall(r"Used (\d+) registers", report)]
        assert registers, report
        assert not any(spills), f"sm_{architecture}: {report}"
        assert max(registers) <= REGISTERS, f"sm_{architecture}: {report}"
