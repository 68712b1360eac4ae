"""Kernels compile for every GPU generation CUDA 13 knows, in registers alone, with 16-byte loads where claimed."""

from __future__ import annotations

import re
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks.variants import ARCHITECTURES, FUNCTIONS, Variant, compiled, covering, variants
from tests.conftest import need

USUAL: dict[str, Variant] = {
    "gif": {"X": 2, "Q": 0, "SALIENT": 2, "SIGNED": 0, "EMIT": 7, "VEC": 8, "ALIGNED": 1, "TEAM": 128, "HOLD": 4},
    "gif_backward": {"X": 2, "SALIENT": 2, "SIGNED": 0, "VEC": 8, "ALIGNED": 1, "TEAM": 128, "HOLD": 4},
    "gif_clip": {"X": 2, "VEC": 8, "ALIGNED": 1},
    "spike_epilogue": {"X": 2, "VEC": 8, "ALIGNED": 1},
    "neuron_scan": {"X": 2, "INTEGER": 0, "HARD": 0, "OUT": 0, "VEC": 8, "ALIGNED": 1},
    "neuron_scan_backward": {
        "X": 2, "INTEGER": 0, "HARD": 0, "SURROGATE": 3, "DETACH": 0, "LEARN": 1, "CHUNK": 4, "KEEP": 0,
        "VEC": 8, "ALIGNED": 1,
    },
    "packed_matvec": {
        "X": 2, "BITS": 4, "SIGNED": 0, "SALIENT": 1, "GROUPS": 1, "TOKENS": 1, "OUTS": 2, "ALIGNED": 1,
    },
}  # fmt: skip
# Loads and stores of 16 bytes each instruction of the usual bfloat16 path makes at least.
WIDE = {
    "gif": (4, 4),  # a token of 128 threads: four loads each, four stores of values
    "gif_backward": (8, 4),
    "gif_clip": (1, 1),
    "neuron_scan": (4, 4),
    "neuron_scan_backward": (8, 4),
    "packed_matvec": (2, 0),
    "spike_epilogue": (4, 1),  # two of sums, and what belongs to the outputs once
}


@pytest.mark.parametrize("architecture", [75, 120])
@pytest.mark.parametrize("kernel", sorted(USUAL))
def test_the_usual_specialisation_compiles_without_spills(
    nvcc: str, kernel: str, architecture: int, tmp_path: Path
) -> None:
    chosen = {"THREADS": 128, **USUAL[kernel]}
    ((registers, spilled),) = compiled(nvcc, kernel, [chosen], architecture, tmp_path)
    assert spilled == 0
    assert 0 < registers <= 224  # two blocks of 128 threads share a multiprocessor


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("kernel", sorted(FUNCTIONS))
def test_specialisations_compile_without_spills(nvcc: str, kernel: str, architecture: int, tmp_path: Path) -> None:
    chosen = covering(variants(kernel))
    for start in range(0, len(chosen), 8):
        found = compiled(nvcc, kernel, chosen[start : start + 8], architecture, tmp_path)
        assert not any(spilled for _, spilled in found)


def _disassembler() -> Path | None:
    package = find_spec("nvidia")
    places = package.submodule_search_locations if package is not None else None
    return next((path for place in places or () for path in Path(place).glob("*/bin/nvdisasm")), None)


@pytest.mark.parametrize("kernel", sorted(WIDE))
def test_memory_moves_16_bytes_an_instruction(nvcc: str, kernel: str, tmp_path: Path) -> None:
    tool = _disassembler()
    need("nvdisasm", tool is not None, "the wheel nvidia-cuda-nvdisasm is not installed")
    assert tool is not None
    compiled(nvcc, kernel, [{"THREADS": 128, **USUAL[kernel]}], 90, tmp_path)
    listing = subprocess.run(
        [str(tool), "-c", str(tmp_path / f"{kernel}_90.cubin")], capture_output=True, text=True, check=True
    ).stdout
    loads, stores = WIDE[kernel]
    assert len(re.findall(r"\bLDG\.E\.128", listing)) >= loads
    assert len(re.findall(r"\bSTG\.E\.128", listing)) >= stores
