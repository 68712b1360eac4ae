"""The line that installs something, for the package manager this machine has."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

_PACKAGES: dict[str, dict[str, str]] = {
    "g++": {"apt": "g++", "dnf": "gcc-c++", "pacman": "gcc", "brew": "gcc", "conda": "cxx-compiler"},
    "dot": {"apt": "graphviz", "dnf": "graphviz", "pacman": "graphviz", "brew": "graphviz", "conda": "graphviz"},
    "node": {"apt": "nodejs npm", "dnf": "nodejs npm", "pacman": "nodejs npm", "brew": "node", "conda": "nodejs"},
    "nvcc": {"apt": "nvidia-cuda-toolkit", "dnf": "cuda-toolkit", "pacman": "cuda", "conda": "cuda-nvcc"},
}
_INSTALL = {
    "apt": "apt install -y",
    "dnf": "dnf install -y",
    "pacman": "pacman -S --noconfirm",
    "brew": "brew install",
    "conda": "conda install -y -c conda-forge",
}
_NEEDS_ROOT = {"apt", "dnf", "pacman"}


def package_manager() -> str | None:
    """apt, dnf, pacman, brew or conda; inside a conda environment always conda, which needs no root."""
    if (Path(sys.prefix) / "conda-meta").is_dir() and shutil.which("conda"):
        return "conda"
    return next((manager for manager in ("apt", "dnf", "pacman", "brew", "conda") if shutil.which(manager)), None)


def install_line(what: str) -> str:
    """The command that installs `what` here.

    Args:
        what: g++, dot, node or nvcc.
    """
    manager = package_manager()
    package = _PACKAGES[what].get(manager or "")
    if manager is None or package is None:
        return f"conda install -y -c conda-forge {_PACKAGES[what]['conda']}"
    root = "sudo " if manager in _NEEDS_ROOT and hasattr(os, "geteuid") and os.geteuid() != 0 else ""
    return f"{root}{_INSTALL[manager]} {package}"
