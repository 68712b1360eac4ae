"""Starts kernels through CuPy, on the stream and in the memory of torch."""

from __future__ import annotations

import os
import tempfile
from functools import cache
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from darkit_nb.ops._compile_error import compile_error
from darkit_nb.ops._launch import Argument, Launch, kernel_source


class _TorchStream:
    """A stream of torch in the protocol `Stream.from_external` reads."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self._handle


@cache
def _stream(device: int, handle: int) -> Any:
    """CuPy's view of a stream torch owns. torch takes its streams from a pool and never gives one back."""
    cupy = import_module("cupy")
    with cupy.cuda.Device(device):
        return cupy.cuda.Stream.from_external(_TorchStream(handle))


@cache
def _function(kernel: str, name: str, defines: tuple[tuple[str, int], ...], device: int) -> Any:
    """A compiled kernel, loaded on one device.

    Raises:
        BackendError: the compiler refused it; with its words and the lines they are about.
    """
    cupy = import_module("cupy")
    with cupy.cuda.Device(device):
        return cupy.RawModule(path=str(binary(kernel, defines))).get_function(name)


def binary(kernel: str, defines: tuple[tuple[str, int], ...]) -> Path:
    """File of a kernel compiled for the current device; it is kept from process to process, by the text of the source.

    NVRTC is called here and not by `cupy.RawModule`: that adds `-ftz=true` behind all options, and with denormal
    numbers taken for zero membranes would not be those of the definition.

    Raises:
        BackendError: the compiler refused it.
    """
    cupy, compiler = import_module("cupy"), import_module("cupy.cuda.compiler")
    source, options = kernel_source(kernel), ("--std=c++17", *(f"-D{key}={value}" for key, value in defines))
    facts = (source, *options, cupy.cuda.Device().compute_capability, *map(str, cupy.cuda.nvrtc.getVersion()))
    file = cache_folder() / f"darkit-{kernel}-{sha256(chr(0).join(facts).encode()).hexdigest()[:32]}.cubin"
    if file.is_file():
        return file
    try:
        compiled, _ = compiler.compile_using_nvrtc(source, options, filename=f"{kernel}.cu")
    except compiler.CompileException as error:
        raise compile_error(kernel, defines, str(error)) from error
    return _stored(file, compiled)


def cache_folder() -> Path:
    """Where CuPy keeps what it compiles, and we too."""
    return Path(os.environ.get("CUPY_CACHE_DIR") or Path.home() / ".cupy" / "kernel_cache")


def _stored(file: Path, compiled: bytes) -> Path:
    """`file` with these bytes, whole from the moment it is there; elsewhere where its folder cannot be written to."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(dir=file.parent)
    except OSError:
        file = Path(tempfile.mkdtemp(prefix="darkit-kernels-")) / file.name
        handle, part = tempfile.mkstemp(dir=file.parent)
    with os.fdopen(handle, "wb") as out:
        out.write(compiled)
    return Path(part).replace(file)


def pack(argument: Argument) -> np.generic:
    """An argument by value, as `cuLaunchKernel` takes it."""
    if argument is None or isinstance(argument, Tensor):
        return np.uint64(0 if argument is None else argument.data_ptr())
    return np.int64(argument) if isinstance(argument, int) else np.float32(argument)


class CupyLauncher:
    """`Launcher` for CUDA tensors."""

    def launch(self, plan: Launch) -> None:
        """Queue the kernel on torch's current stream of the device the tensors live on.

        Nothing waits and nothing is allocated, so that a kernel launched once before can be captured in a CUDA graph.
        """
        cupy = import_module("cupy")
        device = next(argument.device for argument in plan.arguments if isinstance(argument, Tensor))
        index = torch.cuda.current_device() if device.index is None else device.index
        function = _function(plan.kernel, plan.function, plan.defines, index)
        stream = _stream(index, torch.cuda.current_stream(index).cuda_stream)
        with cupy.cuda.Device(index), stream:
            function((*plan.grid, 1), (plan.threads, 1, 1), tuple(pack(argument) for argument in plan.arguments))
