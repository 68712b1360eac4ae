"""Which implementation computes a spiking operation here, and why: the reason is a value, never swallowed."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch

from darkit_nb.errors import BackendError
from darkit_nb.records.spike_spec import Backend

Name = Literal["reference", "blocked", "cupy"]
BACKENDS: tuple[Backend, ...] = ("auto", "reference", "blocked", "cupy")
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
        requested: auto takes CuPy on a CUDA device where it works, cache blocks on the CPU, else the reference.
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
    if requested == "blocked" or (requested == "auto" and kind == "cpu"):
        if kind == "cpu":
            return Resolved("blocked", "cache-blocked PyTorch for tensors on the CPU")
        raise _unavailable("blocked", f"tensors on {kind}", "cache blocks are for the CPU", "use backend='auto'")
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


def _unavailable(name: str, received: str, cause: str | None, fix: str | None) -> BackendError:
    expected = "CuPy with a working CUDA device" if name == "cupy" else "tensors on the CPU"
    return BackendError(
        f"The backend {name!r} cannot be used here.", expected=expected, received=received, cause=cause, fix=fix
    )
