"""A `Launcher` that runs kernels on the CPU: the host code under test is the one CuPy gets, only the start differs."""

from __future__ import annotations

import ctypes
import hashlib
import subprocess
from collections.abc import Callable
from pathlib import Path

from darkit_nb.ops._cupy import pack
from darkit_nb.ops._launch import Launch, kernel_source
from tests.kernels import signature

KERNELS = Path(__file__).parents[2] / "kernels"


class ShimLauncher:
    """Compiles a kernel with g++ through `cpu_shim.h` and runs its threads as fibers, if its arguments fit."""

    def __init__(self, folder: Path, edit: Callable[[str], str] = lambda source: source, flags: tuple[str, ...] = ()):
        self.folder = folder
        self.edit = edit
        self.flags = flags
        self.descending = False
        self.launches: list[Launch] = []

    def edited(self, edit: Callable[[str], str]) -> ShimLauncher:
        """The same with another text of the kernels."""
        return ShimLauncher(self.folder, edit, self.flags)

    def build(self, plan: Launch) -> Path:
        source = self.edit(kernel_source(plan.kernel))
        text = f'#include "cpu_shim.h"\n{source}\nDK_EXPORT({plan.function})\n'
        defines = [f"-D{key}={value}" for key, value in plan.defines]
        command = ["g++", "-std=c++17", "-O1", "-ffp-contract=off", "-fPIC", "-shared", "-DDK_CPU", "-w", "-x", "c++"]
        command += ["-I", str(KERNELS), *defines, *self.flags]
        name = hashlib.sha256("\0".join([text, *command]).encode()).hexdigest()[:24]
        library = self.folder / f"{name}.so"
        if not library.exists():
            subprocess.run([*command, "-", "-o", str(library)], input=text, text=True, check=True)
        return library

    def launch(self, plan: Launch) -> None:
        signature.check(plan)
        self.launches.append(plan)
        library = ctypes.CDLL(str(self.build(plan)))
        ctypes.c_int.in_dll(library, "dk_descending").value = int(self.descending)
        packed = [pack(argument) for argument in plan.arguments]
        cells = [ctypes.create_string_buffer(value.tobytes(), value.nbytes) for value in packed]
        values = (ctypes.c_void_p * len(cells))(*map(ctypes.addressof, cells))
        grid, block = (ctypes.c_uint * 3)(*plan.grid, 1), (ctypes.c_uint * 3)(plan.threads, 1, 1)
        failure = getattr(library, f"dk_launch_{plan.function}")(grid, block, values)
        if failure:
            raise RuntimeError({1: "some threads wait for others that never come", 2: "unusable launch"}[failure])
