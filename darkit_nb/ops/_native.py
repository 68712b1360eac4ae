"""Calls the CPU library of `kernels/cpu` through ctypes.

Arguments travel as a C struct where a call has to be quick (`Record`: one pointer instead of twenty conversions), else
one by one (`call`). Either way a tensor (or None) is a pointer, a Python int a 64-bit integer, a float a 32-bit float.
ctypes lets other Python threads run meanwhile.

The library runs on the threads torch has already: a second pool would fight with the first, which goes on spinning
after every operation. torch's libraries say where their OpenMP is; where they have none, the library starts threads
itself.
"""

from __future__ import annotations

import ctypes
import math
import struct
import threading
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils import deterministic
from torch.utils.dlpack import from_dlpack

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
UINT4, BITS = 7, 8
"""`enum Type` of `kernels/cpu/vector.h`."""

MOST_THREADS = 64
"""As in `kernels/cpu/threads.h`."""

REUSED_BYTES = 2**18
"""Results from this size on come from memory that is used again; smaller ones the C library keeps for itself."""

STREAMED_BYTES = 2**22
"""Results from this size on are written past the caches: a usual write to memory in no cache reads it first."""

CACHE_LINE = 64

Argument = Tensor | int | float | None

# Type code and bits of a DLPack tensor.
_DLPACK = {
    torch.float32: (2, 32),
    torch.float16: (2, 16),
    torch.bfloat16: (4, 16),
    torch.uint8: (1, 8),
    torch.int8: (0, 8),
    torch.int16: (0, 16),
    torch.int32: (0, 32),
}
_MOST_AXES = 16
_WANTED = struct.Struct(f"@{4 + _MOST_AXES}q")
_CAPSULE_NAME = b"dltensor"
_capsule = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)(
    ("PyCapsule_New", ctypes.pythonapi)
)


_libraries: dict[str, ctypes.CDLL] = {}
_opening = threading.Lock()


def _library(path: str) -> ctypes.CDLL:
    """The library, which is told of torch's threads once, before anybody computes with it."""
    if path not in _libraries:
        with _opening:
            if path not in _libraries:
                _libraries[path] = _open(path)
    return _libraries[path]


def _open(path: str) -> ctypes.CDLL:
    library = ctypes.CDLL(path)
    library.dk_result.restype = ctypes.c_void_p
    library.dk_result.argtypes = [ctypes.c_char_p]
    library.dk_idle_bytes.restype, library.dk_idle_bytes.argtypes = ctypes.c_int64, [ctypes.c_int64]
    library.dk_share_threads(*torch_threads())
    return library


def torch_threads() -> tuple[Any, Any]:
    """What starts a region on torch's own threads, and what numbers them there; None twice where there is nothing."""
    try:
        # Names are looked up in the library and in all it is linked with, so these are the ones torch itself calls.
        torch_library = ctypes.CDLL(torch._C.__file__)
        return torch_library.GOMP_parallel, torch_library.omp_get_thread_num
    except (OSError, AttributeError):
        return None, None


@cache
def _function(path: str, level: str, name: str, kinds: str) -> Any:
    function = getattr(_library(path), f"{name}_{level}")
    c_types = {"p": ctypes.c_void_p, "i": ctypes.c_int64, "f": ctypes.c_float, "s": ctypes.c_char_p}
    function.argtypes = [c_types[kind] for kind in kinds]
    function.restype = ctypes.c_int64
    return function


def _usable() -> tuple[str, str]:
    """Path of the library, and the instruction set."""
    state = probe_native()
    if state.path is None or state.level is None:
        raise BackendError("The CPU library cannot be used.", received=state.finding, fix=state.fix)
    return state.path, state.level


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
    function = _function(*_usable(), name, kinds + "i")
    values = (argument.data_ptr() if isinstance(argument, Tensor) else argument for argument in arguments)
    return function(*values, torch.get_num_threads())


class Record:
    """A function of the library that takes one struct.

    Args:
        name: function without its instruction set.
        layout: the fields as `struct` names them: P a pointer, q an integer, f a float. The number of threads, which
            every struct ends with, is added here.
    """

    def __init__(self, name: str, layout: str) -> None:
        self.name = name
        self._pack = struct.Struct(f"@{layout}q").pack

    def __call__(self, *fields: float) -> int:
        """Run it on all of torch's threads; pointers come from `address`, and their tensors stay alive meanwhile.

        Raises:
            BackendError: there is no library.
        """
        function = _function(*_usable(), self.name, "s")
        return function(self._pack(*fields, torch.get_num_threads()))


def address(tensor: Tensor | None) -> int:
    """Where a tensor lies, 0 for None."""
    return 0 if tensor is None else tensor.data_ptr()


def empty(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """`torch.empty` on the CPU for what the library is about to write; large ones from memory that was used before."""
    size = math.prod(shape) * dtype.itemsize
    if size < REUSED_BYTES or len(shape) > _MOST_AXES:  # first: a token's results are small, and there are many
        return torch.empty(shape, dtype=dtype, device="cpu")
    if torch.are_deterministic_algorithms_enabled() and deterministic.fill_uninitialized_memory:  # pyright: ignore[reportAttributeAccessIssue]
        return torch.empty(shape, dtype=dtype, device="cpu")
    library = _library(_usable()[0])
    wanted = _WANTED.pack(size, *_DLPACK[dtype], len(shape), *shape, *(0,) * (_MOST_AXES - len(shape)))
    result = library.dk_result(wanted)
    if result is None:
        raise MemoryError(f"no memory for a result of {size} bytes")
    return from_dlpack(_capsule(result, _CAPSULE_NAME, None))


class _Room(threading.local):
    """Memory of this thread that survives between calls."""

    def __init__(self) -> None:
        self.held = torch.empty(0, dtype=torch.uint8)


_room = _Room()


def scratch(size: int) -> int:
    """Address of `size` bytes to work in, at a cache line; the next call on this thread gets the same ones.

    Fresh memory would cost more in page faults than the arithmetic on it.
    """
    if _room.held.numel() < size + CACHE_LINE:
        _room.held = torch.empty(size + CACHE_LINE, dtype=torch.uint8)
    begin = _room.held.data_ptr()
    return begin + -begin % CACHE_LINE


def idle_bytes(most: int = -1) -> int:
    """Bytes the library keeps for later results; `most` bounds them from now on, and 0 gives all back to the system."""
    return _library(_usable()[0]).dk_idle_bytes(most)


def tokens_of(x: Tensor) -> tuple[Tensor, int, int]:
    """`x` `[*B, D]` in rows that are contiguous, copied where it has to be; how far they lie apart, and how many."""
    features = x.shape[-1]
    if not x.is_contiguous():
        x = rows_of(x.reshape(-1, features))
        return x, x.stride(0), x.shape[0]
    return x, features, x.numel() // features


def rows_of(x: Tensor) -> Tensor:
    """`x` `[R, D]` itself where every row is contiguous, else a contiguous copy."""
    return x if x.stride(-1) == 1 or x.shape[-1] == 1 else x.contiguous()
