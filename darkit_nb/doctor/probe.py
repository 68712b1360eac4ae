"""Looking at heavy libraries in a process of its own: one that crashes or hangs there harms nobody.

python -m darkit_nb.doctor.probe torch|cupy|plugins      prints one line of JSON
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from importlib import import_module
from typing import Any

TIMEOUT_SECONDS = 120


def look_at_torch() -> dict[str, Any]:
    """Version, CPU abilities and GPUs as torch sees them."""
    import torch

    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "version": torch.__version__,
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "cuda": torch.version.cuda,
        "gpus": gpus if torch.cuda.is_available() else [],
    }


def look_at_cupy() -> dict[str, Any]:
    """Version and GPUs as CuPy sees them; `driver_error` where it is installed but finds no usable driver."""
    cupy: Any = import_module("cupy")

    found: dict[str, Any] = {"version": cupy.__version__}
    try:
        count = cupy.cuda.runtime.getDeviceCount()
        found["gpus"] = [cupy.cuda.runtime.getDeviceProperties(index)["name"].decode() for index in range(count)]
        found["runtime"] = cupy.cuda.runtime.runtimeGetVersion()
    except Exception as error:  # noqa: BLE001 - every failure of the driver is a finding
        found["driver_error"] = str(error) or type(error).__name__
    return found


def look_at_plugins() -> dict[str, Any]:
    """Entries and failed plug-ins of every kind."""
    from darkit_nb.plugins import KINDS, registry

    return {kind: {"count": len(registry(kind)), "failures": registry(kind).failures} for kind in KINDS}


_LOOKS = {"torch": look_at_torch, "cupy": look_at_cupy, "plugins": look_at_plugins}


def probe(what: str) -> dict[str, Any]:
    """Run one look in a child process.

    Returns: What it found, or `{"missing": module}` where a library is not installed, or `{"error": reason}`.
    """
    command = [sys.executable, "-W", "ignore", "-m", "darkit_nb.doctor.probe", what]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        return {"error": f"no answer within {TIMEOUT_SECONDS} seconds"}
    if done.returncode < 0:
        return {"error": f"the process was ended by {signal.Signals(-done.returncode).name}"}
    try:
        return json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        return {"error": (done.stderr.strip().splitlines() or ["no answer"])[-1]}


def _main(what: str) -> None:
    try:
        found = _LOOKS[what]()
    except ModuleNotFoundError as error:
        found = {"missing": error.name}
    except Exception as error:  # noqa: BLE001 - a broken library may raise anything, and that is the finding
        found = {"error": f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"}
    print(json.dumps(found))


if __name__ == "__main__":
    _main(sys.argv[1])
