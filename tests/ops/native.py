"""What tests of the C++ library share: that it is there, one instruction set after the other, poisoned memory."""

from __future__ import annotations

import ctypes
import dataclasses
import mmap
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from darkit_nb.ops import _native, backend
from darkit_nb.ops.native_build import LEVELS, BuildError, NativeState, build, find_compiler, probe_native
from tests.conftest import need


def need_library() -> None:
    """Build the library if nobody has, or skip where no compiler is."""
    if not probe_native().works:
        need(
            "g++", shutil.which("g++") is not None or find_compiler() is not None, "no C++ compiler for the CPU library"
        )
        try:
            build()
        except BuildError as error:
            pytest.fail(str(error), pytrace=False)
        probe_native.cache_clear()
    assert probe_native().works, probe_native().finding


@contextmanager
def use_level(level: str) -> Iterator[None]:
    """Run with this instruction set; skip where the processor has less."""
    best = probe_native().level
    assert best is not None
    if list(LEVELS).index(level) > list(LEVELS).index(best):
        pytest.skip(f"this processor has no {level}")
    state, asked = dataclasses.replace(probe_native(), level=level), _native.probe_native
    _native.probe_native = lambda: state
    try:
        yield
    finally:
        _native.probe_native = asked


def without_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """What "auto" chooses on a machine that has built nothing."""
    missing = NativeState(False, "the CPU library is not built", "darkit-nb doctor --build")
    monkeypatch.setattr(backend, "probe_native", lambda: missing)


@contextmanager
def poisoned() -> Iterator[None]:
    """Fresh tensors hold NaN, the largest integer or True, so that an element nobody wrote is seen."""
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


def guarded(x: torch.Tensor) -> torch.Tensor:
    """A copy that ends where memory ends: whoever reads one element too many, masked or not, ends the process."""
    size = -(-x.nbytes // mmap.PAGESIZE) * mmap.PAGESIZE
    block = mmap.mmap(-1, size + mmap.PAGESIZE)
    behind = torch.frombuffer(block, dtype=torch.uint8).data_ptr() + size
    assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(behind), ctypes.c_size_t(mmap.PAGESIZE), 0) == 0
    copy = torch.frombuffer(block, dtype=x.dtype, count=x.numel(), offset=size - x.nbytes).view(x.shape)
    return copy.copy_(x)
