"""The C++ library of the CPU, looked at and built by its own program in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

_PROGRAM = [sys.executable, "-m", "darkit_nb.ops.native_build"]


def native_library() -> dict[str, Any]:
    """Whether the library works here, what was found, and the line that repairs it."""
    done = subprocess.run([*_PROGRAM, "--status"], capture_output=True, text=True, check=False)  # noqa: S603
    try:
        return json.loads(done.stdout)
    except ValueError:
        reason = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        return {"works": False, "finding": reason, "fix": "pip install --force-reinstall darkit-nb"}


def build_native_library() -> bool:
    """Build the library, which takes some ten seconds; its own words go to the terminal. Whether it is there now."""
    return subprocess.run(_PROGRAM, check=False).returncode == 0  # noqa: S603
