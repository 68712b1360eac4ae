"""Examining a machine: every check is a small function from what is there to a `Check`."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from darkit_nb import __version__
from darkit_nb.config.memory import available_memory, readable
from darkit_nb.doctor.native import native_library
from darkit_nb.doctor.probe import probe
from darkit_nb.doctor.remedies import install_line
from darkit_nb.doctor.report import Check, DoctorReport

_GIB = 2**30
_CPU_TORCH = "pip install torch --index-url https://download.pytorch.org/whl/cpu"


def examine(runs_dir: str | Path = "runs") -> DoctorReport:
    """Look at Python, torch, CUDA, compilers, memory, disk, cache and plug-ins.

    Torch, CuPy and the plug-ins are looked at in child processes: this process stays light, and a library that
    crashes is a finding. Takes a few seconds.

    Args:
        runs_dir: Folder of runs, whose disk is looked at.
    """
    with ThreadPoolExecutor(3) as pool:
        torch, cupy, plugins = pool.map(probe, ("torch", "cupy", "plugins"))
    driver = nvidia_driver()
    return DoctorReport(
        checks=(
            python_check(),
            torch_check(torch),
            package_check("transformers"),
            gpu_check(torch, driver),
            cupy_check(cupy, driver),
            tool_check("g++", ("g++", "clang++", "c++"), "the CPU library and the kernel tests need one"),
            library_check(native_library()),
            tool_check(
                "nvcc", ("nvcc", "/usr/local/cuda/bin/nvcc"), "only needed to check the CUDA kernels ahead of time"
            ),
            tool_check("dot", ("dot",), "only needed to draw graphs with graphviz"),
            tool_check("node", ("node",), "only needed to build the front end from a checkout"),
            memory_check(),
            disk_check("disk", Path(runs_dir)),
            cache_check(),
            *plugin_checks(plugins),
        )
    )


def python_check() -> Check:
    """Python's version."""
    enough = sys.version_info >= (3, 11)
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}, darkit-nb {__version__}"
    return Check(
        name="python", level="ok" if enough else "fault", found=found, fix=None if enough else "use Python 3.11+"
    )


def torch_check(found: Mapping[str, Any]) -> Check:
    """Torch: whether it loads, what the CPU can do, how many threads it uses."""
    if "missing" in found:
        return Check(name="torch", level="fault", found=f"not installed ({found['missing']})", fix=_CPU_TORCH)
    if "error" in found:
        fix = f"pip install --force-reinstall torch, or for a CPU: {_CPU_TORCH}"
        return Check(name="torch", level="fault", found=f"does not load: {found['error']}", fix=fix)
    text = f"{found['version']}, CPU {found['cpu']}, {found['threads']} threads"
    return Check(name="torch", level="ok", found=text)


def package_check(name: str) -> Check:
    """A Python package that must be there."""
    try:
        return Check(name=name, level="ok", found=version(name))
    except PackageNotFoundError:
        return Check(name=name, level="fault", found="not installed", fix=f"pip install {name}")


def nvidia_driver() -> str | None:
    """Version of the NVIDIA driver, or None where there is none."""
    path = shutil.which("nvidia-smi")
    if path is None:
        return None
    query = [path, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.split()[0] if done.returncode == 0 and done.stdout.strip() else None


def gpu_check(torch: Mapping[str, Any], driver: str | None) -> Check:
    """Whether torch can train on a GPU."""
    gpus = torch.get("gpus", [])
    if gpus:
        return Check(name="gpu", level="ok", found=f"{', '.join(gpus)}; CUDA {torch.get('cuda')}, driver {driver}")
    if driver is None:
        return Check(name="gpu", level="absent", found="no NVIDIA GPU with a driver; training runs on the CPU")
    built = torch.get("cuda")
    why = "this torch was built without CUDA" if built is None else f"torch (CUDA {built}) cannot use it"
    fix = "pip install --force-reinstall torch" if built is None else "install a newer NVIDIA driver"
    return Check(name="gpu", level="absent", found=f"driver {driver} is there, but {why}", fix=fix)


def cupy_check(found: Mapping[str, Any], driver: str | None) -> Check:
    """Whether the CUDA kernels can run."""
    if found.get("missing") == "cupy":
        if driver is None:
            return Check(name="cupy", level="absent", found="not installed, and without an NVIDIA GPU of no use")
        fix = "pip install 'darkit-nb[gpu]'"
        return Check(name="cupy", level="absent", found="not installed: the CUDA kernels cannot be used", fix=fix)
    if "driver_error" in found:
        return Check(
            name="cupy",
            level="absent",
            found=f"{found['version']} is installed, but finds no NVIDIA driver it can use ({found['driver_error']}); "
            "spikes are computed on the CPU",
            fix="install the NVIDIA driver for your GPU, or without a GPU: pip uninstall cupy-cuda13x",
        )
    reason = found.get("error") or (f"{found['missing']} is missing" if "missing" in found else None)
    if reason:
        fix = "pip install --force-reinstall 'darkit-nb[gpu]'"
        return Check(name="cupy", level="absent", found=f"is installed, but does not load: {reason}", fix=fix)
    return Check(name="cupy", level="ok", found=f"{found['version']} on {', '.join(found['gpus'])}")


def tool_check(name: str, commands: tuple[str, ...], purpose: str) -> Check:
    """A program on the PATH, with its version."""
    path = next(filter(None, map(shutil.which, commands)), None)
    if path is None:
        return Check(name=name, level="absent", found=f"not found; {purpose}", fix=install_line(name))
    return Check(name=name, level="ok", found=f"{_version_of(path)} ({path})")


def _version_of(path: str) -> str:
    try:
        flag = "-V" if Path(path).name == "dot" else "--version"
        done = subprocess.run([path, flag], capture_output=True, text=True, timeout=20, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"does not start: {type(error).__name__}"
    lines = (done.stdout or done.stderr).strip().splitlines() or ["no version"]
    return next((line for line in lines if "release" in line), lines[0])


def library_check(found: Mapping[str, Any]) -> Check:
    """The C++ library that computes spikes on the CPU."""
    if found.get("works"):
        return Check(name="cpu library", level="ok", found=f"{found['finding']} ({found['path']})")
    why = f"{found['finding']}: spikes are computed by PyTorch, slower"
    return Check(name="cpu library", level="absent", found=why, fix=found.get("fix"))


def memory_check() -> Check:
    """Free memory, a container's limit included."""
    free, total = available_memory(), psutil.virtual_memory().total
    found = f"{readable(free)} free of {readable(total)}, {os.cpu_count()} cores"
    if free < _GIB:
        return Check(
            name="memory", level="fault", found=found, fix="close other programs; the smallest training takes 1 GiB"
        )
    return Check(name="memory", level="ok", found=found)


def disk_check(name: str, folder: Path) -> Check:
    """Free space where runs are written."""
    place = _existing(folder.expanduser().absolute())
    free = shutil.disk_usage(place).free
    found = f"{readable(free)} free in {place}"
    if not os.access(place, os.W_OK):
        return Check(
            name=name, level="fault", found=f"{place} is not writable", fix="choose another folder with runs_dir=…"
        )
    if free < _GIB:
        return Check(
            name=name, level="fault", found=found, fix="free some space, or choose another folder with runs_dir=…"
        )
    return Check(name=name, level="ok", found=found)


def cache_check() -> Check:
    """The folder of prepared corpora."""
    folder = Path(os.environ.get("DARKIT_CACHE") or "~/.cache/darkit-nb").expanduser()
    place = _existing(folder.absolute())
    if not place.is_dir() or not os.access(place, os.W_OK):
        fix = "export DARKIT_CACHE=/a/folder/you/may/write"
        return Check(name="cache", level="fault", found=f"{folder} is not writable", fix=fix)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else 0
    return Check(name="cache", level="ok", found=f"{folder}, {readable(size)} used")


def plugin_checks(found: Mapping[str, Any]) -> list[Check]:
    """Registered entries, and every plug-in that failed with its reason."""
    if "error" in found or "missing" in found:
        reason = found.get("error") or f"{found['missing']} is missing"
        return [Check(name="plug-ins", level="fault", found=reason, fix="pip install --force-reinstall darkit-nb")]
    counts = ", ".join(f"{kind} {facts['count']}" for kind, facts in found.items())
    checks = [Check(name="plug-ins", level="ok", found=counts)]
    for kind, facts in found.items():
        for plugin, why in facts["failures"].items():
            ours = plugin.startswith("builtin ")
            fix = (
                "pip install --force-reinstall darkit-nb"
                if ours
                else f"update or uninstall the package behind {plugin}"
            )
            checks.append(
                Check(name=f"{kind} plug-in", level="fault" if ours else "absent", found=f"{plugin}: {why}", fix=fix)
            )
    return checks


def _existing(folder: Path) -> Path:
    """The folder itself, or the nearest one above it that exists."""
    return next(place for place in (folder, *folder.parents) if place.exists())
