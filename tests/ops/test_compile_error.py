"""A kernel that does not compile is reported with its lines: parsed from what a real compiler says."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from darkit_nb.errors import BackendError
from darkit_nb.ops import _cupy, _launch
from darkit_nb.ops._compile_error import with_source
from tests.ops.fake_cupy import FakeCupy, recording_cupy

BROKEN = """#include "numeric.cuh"
#include "broken.cuh"
extern "C" __global__ void broken(x_t* x) {
    x[0] = store_x(half_of(3.0f, 4.0f));
    x[1] = unknown;
}
"""


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kernel with an error in its header and two in itself."""
    (tmp_path / "broken.cu").write_text(BROKEN)
    (tmp_path / "broken.cuh").write_text("// Halves.\n__device__ float half_of(float x) { return x / undeclared; }\n")
    monkeypatch.setattr(_launch, "FOLDERS", (tmp_path, *_launch.FOLDERS))
    _launch.kernel_source.cache_clear()
    return tmp_path


def test_errors_name_file_and_line_and_show_it(nvcc: str, broken: Path) -> None:
    expanded = broken / "expanded.cu"
    expanded.write_text(_launch.kernel_source("broken"))
    done = subprocess.run(
        [nvcc, "-cubin", "-arch=sm_90", "-DDK_X=0", str(expanded), "-o", str(broken / "out")],
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    shown = with_source(done.stderr)
    assert 'broken.cuh:2: identifier "undeclared" is undefined' in shown
    assert "return x / undeclared;" in shown
    assert "broken.cu:4: " in shown
    assert "x[0] = store_x(half_of(3.0f, 4.0f));" in shown
    assert 'broken.cu:5: identifier "unknown" is undefined' in shown


def test_a_log_without_places_is_shown_as_it_is() -> None:
    assert with_source(" nvrtc: error: invalid value for --gpu-architecture\n").startswith("nvrtc: error: invalid")


def test_lines_of_other_files_are_named_without_text() -> None:
    assert with_source("vector_types.h(7): error: too old") == "vector_types.h:7: too old\n    (a file of the compiler)"


cupy = pytest.fixture(recording_cupy)


def test_the_launcher_raises_it(cupy: FakeCupy) -> None:
    cupy.refusal = "gif.cu(1): error: no such thing"
    with pytest.raises(BackendError, match=r"gif\.cu does not compile") as raised:
        _cupy._function("gif", "gif_forward", (("DK_X", 0),), 0)
    assert "gif.cu:1: no such thing\n    // Generalised integrate-and-fire" in str(raised.value)
    assert "-DDK_X=0" in str(raised.value)
