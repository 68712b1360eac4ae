"""Who runs a run: host, boot and process, in a form that a reused process id cannot imitate."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import socket
import sys
from functools import cache
from pathlib import Path
from typing import Any

import psutil

_PACKAGES = (
    "darkit-nb",
    "torch",
    "transformers",
    "accelerate",
    "datasets",
    "tokenizers",
    "safetensors",
    "numpy",
    "cupy",
)
_VARIABLES = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "HF_HUB_OFFLINE", "WORLD_SIZE")


@cache
def host() -> str:
    """Name of this machine."""
    return socket.gethostname()


@cache
def boot_id() -> str:
    """Name of this boot of the machine; process ids mean something only within one."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return f"boot-{psutil.boot_time():.0f}"


def process_started(pid: int) -> float | None:
    """When a living process started, in seconds of a clock that does not jump; None if there is no such process.

    Linux counts from boot, elsewhere it is the time of day: compare values of one boot only. A zombie is not alive.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return None if fields[0] in (b"Z", b"X") else int(fields[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, ValueError, AttributeError):
        pass
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except (psutil.Error, ValueError):
        return None


def this_process() -> dict[str, Any]:
    """The fields by which a status names the process that wrote it."""
    pid = os.getpid()
    return {"pid": pid, "process_started": process_started(pid), "host": host(), "boot_id": boot_id()}


def environment() -> dict[str, Any]:
    """What a result may depend on: versions, machine, thread settings. No other environment variables."""
    versions: dict[str, str] = {}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(),
        "executable": sys.executable,
        "platform": platform.platform(),
        "machine": platform.machine(),
        "host": host(),
        "cpu_count": os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "cwd": str(Path.cwd()),
        "packages": versions,
        "variables": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
    }
