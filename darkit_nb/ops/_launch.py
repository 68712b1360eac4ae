"""What it takes to start a kernel of `kernels/`, apart from who starts it: CuPy here, the CPU shim in the tests.

One rule for arguments: a tensor (or None) is a pointer, a Python int is a 64-bit integer, a float a 32-bit float.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from darkit_nb.errors import BackendError

PACKAGE = Path(__file__).parent.parent
FOLDERS = (PACKAGE / "kernels", PACKAGE.parent / "kernels")
"""Inside the wheel, and beside the package in a checkout."""

MAX_BLOCKS = 65535
"""Largest grid asked for in one axis; kernels stride over what is left."""

X_CODES = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2}
Q_CODES = {torch.uint8: 0, torch.int8: 1, torch.int16: 2, torch.int32: 3}

Argument = Tensor | int | float | None


@dataclass(frozen=True, eq=False)
class Launch:
    """One kernel launch.

    Attributes:
        kernel: stem of the file in `kernels/`.
        function: name of the kernel in it.
        defines: preprocessor settings; a kernel is compiled once for each set.
        grid: blocks in x and y.
        threads: threads of a block.
        arguments: in the order of the kernel's parameters.
    """

    kernel: str
    function: str
    defines: tuple[tuple[str, int], ...]
    grid: tuple[int, int]
    threads: int
    arguments: tuple[Argument, ...]


class Launcher(Protocol):
    """Whoever can start a kernel."""

    def launch(self, plan: Launch) -> None:
        """Start it on the device of its tensors."""
        ...


@cache
def kernel_source(stem: str) -> str:
    """Source of a kernel with its includes in place, every line knowing the file it stands in.

    Includes are expanded here because CuPy's cache knows a source by its text: behind an `-I` folder an edited header
    would run the old binary. `#line` lets compilers and sanitisers name the file and line a reader knows.

    Raises:
        BackendError: the file is in neither folder.
    """
    return _expanded(f"{stem}.cu", set())


def _expanded(name: str, seen: set[str]) -> str:
    seen.add(name)
    lines = [f'#line 1 "{name}"']
    for number, line in enumerate(find_source(name).read_text(encoding="utf-8").splitlines(), 1):
        included = re.fullmatch(r'#include "([\w.]+)"', line)
        if included is None:
            lines.append(line)
            continue
        if included[1] not in seen:
            lines.append(_expanded(included[1], seen))
        lines.append(f'#line {number + 1} "{name}"')
    return "\n".join(lines)


def find_source(name: str) -> Path:
    """Where a file of `kernels/` lies.

    Raises:
        BackendError: in neither folder.
    """
    for folder in FOLDERS:
        if (folder / name).is_file():
            return folder / name
    raise BackendError(
        f"The kernel source {name} is missing.",
        expected=" or ".join(str(folder / name) for folder in FOLDERS),
        received="neither file",
        cause="an incomplete installation",
        fix="pip install --force-reinstall darkit-nb",
    )


def aligned(*tensors: Tensor | None) -> bool:
    """Whether all of them begin at a multiple of 16 bytes, so that 16-byte loads and stores may begin there."""
    return all(tensor is None or tensor.data_ptr() % 16 == 0 for tensor in tensors)


def ceil_div(value: int, by: int) -> int:
    """Smallest number of groups of `by` that hold `value`."""
    return -(-value // by)
