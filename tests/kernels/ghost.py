"""A CUDA device to trace and compile for, on a machine that has none.

`appear(folder)` in a process of its own, before anything imports torch: tensors made on "cuda" under `FakeTensorMode`
then live, as fakes, through dynamo, AOTAutograd and autograd's own engine. Nothing can run there.
"""

from __future__ import annotations

import ctypes
import subprocess
from importlib.util import find_spec
from pathlib import Path

SOURCE = Path(__file__).with_name("ghost_cuda.cpp")


def build(folder: Path) -> Path:
    """Compile the device against the torch that is installed here, seconds."""
    library = folder / "ghost_cuda.so"
    torch = _torch()
    command = ["g++", "-std=c++20", "-O0", "-shared", "-fPIC", "-I", str(torch / "include"), str(SOURCE)]
    command += ["-L", str(torch / "lib"), "-lc10", "-ltorch_cpu", "-o", str(library)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return library


def _torch() -> Path:
    found = find_spec("torch")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent


def appear(library: str) -> None:
    """Put the device there. A torch with CUDA has its own hooks and keeps them: it does so by itself."""
    if list((_torch() / "lib").glob("libtorch_cuda*")):
        return
    # Before torch asks for its hooks for the first time, and keeps what it got.
    ctypes.CDLL(str(_torch() / "lib" / "libtorch_cpu.so"), mode=ctypes.RTLD_GLOBAL)
    ctypes.CDLL(library).appear()
