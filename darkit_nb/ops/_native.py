"""Calls the CPU library of `kernels/cpu` through ctypes.

One rule for arguments, as for CUDA kernels: a tensor (or None) is a pointer, a Python int is a 64-bit integer, a float
a 32-bit float. The library allocates no result: torch does. ctypes lets other Python threads run meanwhile.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from darkit_nb.errors import BackendError
from darkit_nb.ops.native_build import probe_native

TYPES = {
    torch.float32: 0,
    torch.float16: 1,
    torch.bfloat16: 2,
    torch.uint8: 3,
    torch.int8: 4,
    torch.int16: 5,
    torch.int32: 6,
}
"""`enum Type` of `kernels/cpu/numeric.h`."""

MOST_THREADS = 64
"""As in `kernels/cpu/threads.h`."""

LARGE_BYTES = 4 * 2**20
"""Tensors from this size on ask for large pages: page faults of a fresh one cost more than the arithmetic on it."""

Argument = Tensor | int | float | None


@cache
def _library(path: str) -> ctypes.CDLL:
    return ctypes.CDLL(path)


@cache
def _function(path: str, level: str, name: str, kinds: str) -> Any:
    function = getattr(_library(path), f"{name}_{level}")
    c_types = {"p": ctypes.c_void_p, "i": ctypes.c_int64, "f": ctypes.c_float}
    function.argtypes = [c_types[kind] for kind in kinds]
    function.restype = ctypes.c_int64
    return function


def call(name: str, kinds: str, *arguments: Argument) -> int:
    """Run a function of the library on all of torch's threads.

    Args:
        name: function without its instruction set.
        kinds: p, i or f for every argument; the number of threads, which every function takes last, is added here.
        arguments: in order; tensors must be contiguous as the function wants them and stay alive during the call.

    Returns:
        What the function returns.

    Raises:
        BackendError: there is no library.
    """
    state = probe_native()
    if state.path is None or state.level is None:
        raise BackendError("The CPU library cannot be used.", received=state.finding, fix=state.fix)
    function = _function(state.path, state.level, name, kinds + "i")
    values = (argument.data_ptr() if isinstance(argument, Tensor) else argument for argument in arguments)
    return function(*values, torch.get_num_threads())


def empty(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """`torch.empty` on the CPU, for what the library is about to write."""
    out = torch.empty(shape, dtype=dtype)
    path = probe_native().path
    if out.nbytes >= LARGE_BYTES and path is not None:
        _library(path).dk_large_pages(ctypes.c_void_p(out.data_ptr()), ctypes.c_int64(out.nbytes))
    return out


def rows_of(x: Tensor) -> Tensor:
    """`x` `[R, D]` itself where every row is contiguous, else a contiguous copy."""
    return x if x.stride(-1) == 1 or x.shape[-1] == 1 else x.contiguous()
