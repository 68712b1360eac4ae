"""What a CUDA compiler said about a kernel, with the lines of the source it speaks of."""

from __future__ import annotations

import re

from darkit_nb.errors import BackendError
from darkit_nb.ops._launch import find_source

ERROR = re.compile(r"^(?P<file>[\w.]+)\((?P<line>\d+)\): (?:catastrophic )?error[^:]*: (?P<what>.*)$", re.MULTILINE)
"""As NVRTC and nvcc write it; the file is known through `#line`."""

MOST = 3
"""Errors shown: later ones mostly follow from the first."""


def with_source(log: str) -> str:
    """The first errors of a compiler's log, each with its line of the kernel; the log itself where it names none."""
    shown = [
        f"{found['file']}:{found['line']}: {found['what']}\n    {_line(found['file'], int(found['line']))}"
        for found in list(ERROR.finditer(log))[:MOST]
    ]
    return "\n".join(shown) or log.strip()


def _line(name: str, number: int) -> str:
    try:
        lines = find_source(name).read_text(encoding="utf-8").splitlines()
    except BackendError:
        return "(a file of the compiler)"
    return lines[number - 1].strip() if 0 < number <= len(lines) else "(beyond the end of the file)"


def compile_error(kernel: str, defines: tuple[tuple[str, int], ...], log: str) -> BackendError:
    """The error to raise when a kernel does not compile here."""
    options = " ".join(f"-D{key}={value}" for key, value in defines)
    return BackendError(
        f"The kernel {kernel}.cu does not compile on this machine.",
        expected=f"a binary for this GPU, with {options}",
        received=with_source(log),
        cause="the kernel was edited, or this CUDA version is too old for it",
        fix="undo the edit, or use backend='reference'",
    )
