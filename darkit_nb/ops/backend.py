"""Which implementation computes a spiking operation here, and why: the reason is a value, never swallowed."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from darkit_nb.errors import BackendError
from darkit_nb.ops.native_build import probe_native
from darkit_nb.records.spike_spec import Backend

Name = Literal["reference", "blocked", "native", "cupy"]
BACKENDS: tuple[Backend, ...] = ("auto", "reference", "blocked", "native", "cupy")
INSTALL_CUPY = "pip install 'darkit-nb[gpu]'"


@dataclass(frozen=True)
class Resolved:
    """The implementation chosen, and the sentence that says why."""

    name: Name
    reason: str

    def __str__(self) -> str:
        return f"{self.name} ({self.reason})"


@dataclass(frozen=True)
class CupyState:
    """Whether CuPy can launch kernels; if not, what is missing and the line that repairs it."""

    works: bool
    finding: str
    fix: str | None = None


def _driver_version(cupy: object) -> int:
    """Highest CUDA version the driver supports, 0 where there is no driver; raises what the runtime raises."""
    return int(cupy.cuda.runtime.driverGetVersion())  # pyright: ignore[reportAttributeAccessIssue]


@cache
def probe_cupy() -> CupyState:
    """Import CuPy and ask it for a device, once per process; every failure keeps its own words."""
    try:
        cupy = importlib.import_module("cupy")
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == "cupy"
        finding = "CuPy is not installed" if missing else f"CuPy is installed but does not import: {error}"
        return CupyState(False, finding, INSTALL_CUPY)
    version = getattr(cupy, "__version__", "?")
    try:
        if _driver_version(cupy) == 0:
            return CupyState(
                False,
                f"CuPy {version} is installed, but this machine has no NVIDIA driver",
                "install the NVIDIA driver and see that `nvidia-smi` lists a GPU; without a GPU use backend='blocked'",
            )
        devices = int(cupy.cuda.runtime.getDeviceCount())
    except Exception as error:  # noqa: BLE001 - CuPy's own error classes cannot be named without importing it
        return CupyState(
            False,
            f"CuPy {version} is installed, but CUDA does not answer: {type(error).__name__}: {error}",
            "check `nvidia-smi`; the driver may be older than the CUDA version CuPy was built for",
        )
    if devices == 0:
        return CupyState(False, f"CuPy {version} finds no CUDA device", "check CUDA_VISIBLE_DEVICES and `nvidia-smi`")
    return CupyState(True, f"CuPy {version}, {devices} CUDA device{'s' if devices > 1 else ''}")


def resolve_backend(requested: Backend = "auto", device: torch.device | str = "cpu") -> Resolved:
    """Choose the implementation for tensors on `device`.

    Args:
        requested: auto takes CuPy on a CUDA device where it works; on the CPU the C++ library where it was built, else
            cache blocks; on any other device the reference.
        device: where the tensors live.

    Returns:
        The name and the reason, meant to be shown.

    Raises:
        BackendError: the requested implementation does not exist, or cannot be had on this device.
    """
    kind = torch.device(device).type
    if requested not in BACKENDS:
        raise BackendError(
            f"There is no backend {requested!r}.", expected=f"one of {', '.join(BACKENDS)}", received=repr(requested)
        )
    if requested == "reference":
        return Resolved("reference", "asked for: the plain PyTorch definition")
    if requested in ("blocked", "native") and kind != "cpu":
        cause = "cache blocks are for the CPU" if requested == "blocked" else "the C++ library is for the CPU"
        raise _unavailable(requested, f"tensors on {kind}", cause, "use backend='auto'")
    if kind == "cpu" and requested != "cupy":
        return _for_cpu(requested)
    if kind != "cuda":
        if requested == "auto":
            return Resolved("reference", f"no kernels exist for {kind} devices")
        raise _unavailable("cupy", f"tensors on {kind}", "CUDA kernels read CUDA memory", "move the model to 'cuda'")
    state = probe_cupy()
    if state.works:
        return Resolved("cupy", state.finding)
    if requested == "auto":
        return Resolved("reference", f"{state.finding}; {state.fix}")
    raise _unavailable("cupy", state.finding, None, state.fix)


def _for_cpu(requested: Backend) -> Resolved:
    """auto, blocked or native for tensors on the CPU."""
    if requested == "blocked":
        return Resolved("blocked", "asked for: cache-blocked PyTorch")
    state = probe_native()
    if state.works:
        return Resolved("native", state.finding)
    if requested == "native":
        raise _unavailable("native", state.finding, None, state.fix)
    return Resolved("blocked", f"cache-blocked PyTorch on the CPU; {state.finding}; faster after: {state.fix}")


@torch.compiler.assume_constant_result
def backend_name(requested: Backend, device_type: str) -> Name:
    """`resolve_backend(…).name`, which torch.compile asks once and writes into its graph."""
    if device_type == "cpu" and requested in ("auto", "native") and probe_native().works:
        return "native"  # without the sentence that says why: this is asked at every call
    return resolve_backend(requested, device_type).name


def wants_operators() -> bool:
    """Whether operations are recorded or only pretended: then ours have to be operators of `torch.library`."""
    return torch.compiler.is_compiling() or is_in_torch_dispatch_mode()


def exporting() -> bool:
    """Whether torch.export records. Its own question for that has the answer yes in every graph of torch 2.11."""
    return torch.compiler._is_exporting_flag


def _unavailable(name: str, received: str, cause: str | None, fix: str | None) -> BackendError:
    wanted = {"cupy": "CuPy with a working CUDA device", "native": "tensors on the CPU, and the C++ library built"}
    expected = wanted.get(name, "tensors on the CPU")
    return BackendError(
        f"The backend {name!r} cannot be used here.", expected=expected, received=received, cause=cause, fix=fix
    )
