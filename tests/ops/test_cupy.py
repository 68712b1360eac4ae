"""The sources through the CuPy that is installed and its NVRTC: no GPU is needed to compile, only to run.

The second half of the proof that counts are bit-equal on a GPU: no option of CuPy changes the arithmetic.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from tests.conftest import need

PROGRAM = """
import json, sys
import cupy
from cupy.cuda import compiler
# A GPU would say these two; the rest is CuPy's own.
target = sys.argv[1]
compiler._get_arch_for_options_for_nvrtc = lambda arch=None: (f"-arch={target}", "cubin" if "sm" in target else "ptx")
cupy.cuda.Device = type("Device", (), {"compute_capability": target})

from darkit_nb.errors import BackendError
from darkit_nb.ops import _cupy
from tests.kernels.test_nvcc import USUAL
kernels = {**USUAL, "spike_linear": {"X": 0, "Q": 0, "W": 1, "WIDE": 0}}
for kernel, settings in kernels.items():
    defines = tuple((f"DK_{name}", value) for name, value in {"THREADS": 128, **settings}.items())
    print(kernel, _cupy.binary(kernel, defines))
try:
    _cupy.binary("gif", (("DK_X", 7),))
except BackendError as error:
    print(json.dumps(str(error)))
"""


def compiled(target: str, folder: Path) -> list[str]:
    need("cupy", find_spec("cupy") is not None, "CuPy is not installed")
    env = {**os.environ, "CUPY_CACHE_DIR": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, target], capture_output=True, text=True, env=env, check=False, timeout=400
    )
    need("nvrtc", "DynamicLibNotFoundError" not in done.stderr, "there is no NVRTC")
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()


def test_nvrtc_takes_every_kernel_and_an_error_shows_its_line(tmp_path: Path) -> None:
    *lines, error = compiled("sm_90", tmp_path)
    assert len(lines) == 7
    assert all(Path(line.split(" ", 1)[1]).read_bytes()[:4] == b"\x7fELF" for line in lines)
    assert "pack.cuh:" in error
    assert "u32 words[(DK_VEC" in error


def test_denormal_numbers_are_numbers(tmp_path: Path) -> None:
    for line in compiled("compute_90", tmp_path)[:-1]:
        kernel, file = line.split(" ", 1)
        text = Path(file).read_text()
        assert ".f32" in text, kernel
        assert ".ftz" not in text, kernel
