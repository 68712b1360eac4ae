"""The choice of backend, and what a reader is told when CuPy cannot be had."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from darkit_nb.errors import BackendError
from darkit_nb.ops import _cupy, _launch, backend
from darkit_nb.ops._launch import Launch, kernel_source
from darkit_nb.ops.backend import probe_cupy, resolve_backend
from darkit_nb.ops.native_build import NativeState
from tests.ops.fake_cupy import FakeCupy, recording_cupy


@pytest.fixture(autouse=True)
def _fresh_probe() -> Any:
    probe_cupy.cache_clear()
    yield
    probe_cupy.cache_clear()


def fake_cupy(driver: int, devices: int | Exception) -> SimpleNamespace:
    def count() -> int:
        if isinstance(devices, Exception):
            raise devices
        return devices

    runtime = SimpleNamespace(driverGetVersion=lambda: driver, getDeviceCount=count)
    return SimpleNamespace(__version__="14.2.0", cuda=SimpleNamespace(runtime=runtime))


def test_the_cpu_gets_the_library_or_blocks_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    there = NativeState(True, "C++ library, avx2", path="x.so", level="avx2")
    monkeypatch.setattr(backend, "probe_native", lambda: there)
    assert resolve_backend() == backend.Resolved("native", "C++ library, avx2")
    assert resolve_backend("native", "cpu").name == "native"
    assert resolve_backend("blocked") == backend.Resolved("blocked", "asked for: cache-blocked PyTorch")
    missing = NativeState(False, "the CPU library is not built", "darkit-nb doctor --build")
    monkeypatch.setattr(backend, "probe_native", lambda: missing)
    chosen = resolve_backend("auto", torch.device("cpu"))
    assert chosen.name == "blocked"
    assert "not built" in chosen.reason
    assert "darkit-nb doctor --build" in chosen.reason
    with pytest.raises(BackendError, match="doctor --build"):
        resolve_backend("native", "cpu")
    assert resolve_backend("reference", "cuda").name == "reference"
    assert resolve_backend("auto", "meta") == backend.Resolved("reference", "no kernels exist for meta devices")


def test_without_cupy_the_line_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    # A module set to None makes the import fail as if it were not there.
    chosen = resolve_backend("auto", "cuda")
    assert chosen.name == "reference"
    assert chosen.reason == "CuPy is not installed; pip install 'darkit-nb[gpu]'"
    with pytest.raises(BackendError) as refused:
        resolve_backend("cupy", "cuda")
    assert "pip install" in str(refused.value)


def test_a_cupy_that_does_not_import_keeps_its_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "cupy.py").write_text("raise ImportError('libnvrtc.so.13: cannot open shared object file')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    assert "libnvrtc.so.13" in resolve_backend("auto", "cuda").reason


@pytest.mark.parametrize(
    ("cupy", "words"),
    [
        (fake_cupy(0, RuntimeError("cudaErrorInsufficientDriver")), "no NVIDIA driver"),
        (fake_cupy(12000, RuntimeError("cudaErrorInsufficientDriver")), "cudaErrorInsufficientDriver"),
        (fake_cupy(13000, 0), "CUDA_VISIBLE_DEVICES"),
    ],
    ids=["no driver", "old driver", "no device"],
)
def test_cupy_that_cannot_work_says_so_clearly(monkeypatch: pytest.MonkeyPatch, cupy: Any, words: str) -> None:
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    chosen = resolve_backend("auto", "cuda")
    assert chosen.name == "reference"
    assert words in chosen.reason
    with pytest.raises(BackendError) as refused:
        resolve_backend("cupy", "cuda")
    assert words in str(refused.value)
    assert "what to do" in str(refused.value)


def test_working_cupy_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy(13000, 1))
    assert resolve_backend("auto", "cuda") == backend.Resolved("cupy", "CuPy 14.2.0, 1 CUDA device")


def test_impossible_requests_are_refused() -> None:
    for requested, device, words in (
        ("blocked", "cuda", "cache blocks are for the CPU"),
        ("cupy", "cpu", "CUDA kernels read CUDA memory"),
        ("native", "cuda", "the C++ library is for the CPU"),
        ("triton", "cpu", "auto, reference, blocked, native, cupy"),
    ):
        with pytest.raises(BackendError) as refused:
            resolve_backend(requested, device)  # pyright: ignore[reportArgumentType]
        assert words in str(refused.value)


def test_arguments_go_by_value_in_three_kinds() -> None:
    tensor = torch.zeros(3)
    packed = [_cupy.pack(argument) for argument in (tensor, None, 7, 0.5)]
    assert packed == [tensor.data_ptr(), 0, 7, 0.5]
    assert [type(value) for value in packed] == [np.uint64, np.uint64, np.int64, np.float32]


cupy = pytest.fixture(recording_cupy)
PLAN = Launch("gif", "gif_forward", (("DK_X", 0),), (5, 1), 128, (torch.zeros(2), 3, 1.5))


def test_cupy_launches_on_the_stream_of_torch(cupy: FakeCupy) -> None:
    """The launcher against a CuPy that writes down what it is asked: a binary once per settings, torch's stream."""
    for _ in range(2):
        _cupy.CupyLauncher().launch(PLAN)
    assert [call[0] for call in cupy.calls] == ["compile", "load", "stream", "gif_forward", "gif_forward"]
    assert cupy.calls[0] == ("compile", ("--std=c++17", "-DDK_X=0"), "gif.cu", True)
    assert cupy.calls[1] == ("load", True, ["device 0"])
    assert cupy.calls[2] == ("stream", 0, 4711)
    for call in cupy.calls[3:]:
        assert call[1:3] == ((5, 1, 1), (128, 1, 1))
        assert call[4] == ["device 0", "stream 4711"]


def test_a_kernel_is_compiled_once_for_all_processes_and_again_when_its_source_changes(
    cupy: FakeCupy, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = _cupy.binary("gif", (("DK_X", 0),))
    assert _cupy.binary("gif", (("DK_X", 0),)) == first
    assert _cupy.binary("gif", (("DK_X", 1),)) != first
    monkeypatch.setattr(_cupy, "kernel_source", lambda stem: "another")
    assert _cupy.binary("gif", (("DK_X", 0),)) != first
    assert sum(call[0] == "compile" for call in cupy.calls) == 3
    assert sorted(each.suffix for each in first.parent.iterdir()) == [".cubin"] * 3  # and nothing half-written


def test_without_a_folder_to_keep_them_kernels_still_compile(cupy: FakeCupy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUPY_CACHE_DIR", "/dev/null/nowhere")
    file = _cupy.binary("gif", (("DK_X", 0),))
    assert file.read_text() == kernel_source("gif")
    file.unlink()
    file.parent.rmdir()


def test_sources_are_found_and_whole() -> None:
    source = kernel_source("gif")
    assert "#include" not in source
    assert source.count("typedef unsigned char u8;") == 1
    with pytest.raises(BackendError, match=r"nothing\.cu"):
        kernel_source("nothing")


def test_sources_of_an_installed_wheel_come_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "one.cu").write_text('#include "two.cuh"\n#include "two.cuh"\nbody\n')
    (tmp_path / "two.cuh").write_text("header\n")
    monkeypatch.setattr(_launch, "FOLDERS", (tmp_path, *_launch.FOLDERS))
    lines = ['#line 1 "one.cu"', '#line 1 "two.cuh"', "header", '#line 2 "one.cu"', '#line 3 "one.cu"', "body"]
    assert kernel_source("one").splitlines() == lines


def test_choosing_a_backend_does_not_import_cupy_on_the_cpu() -> None:
    code = (
        "import sys; from darkit_nb.ops.backend import resolve_backend; resolve_backend(); print('cupy' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert done.stdout.strip() == "False"
