"""Conversions in processes of their own that die at a chosen instruction, by SIGKILL, with no chance to clean up.

A server that has loaded torch once forks them, so that each costs the conversion and not the imports.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from pkgutil import resolve_name
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from darkit_nb.config.conversions import preset
from darkit_nb.convert import convert_model
from darkit_nb.records.conversion import ConversionSpec

MOMENTS: dict[str, tuple[str, bool]] = {
    "before a layer": ("darkit_nb.convert.block.quantise_weight", False),
    "while tensors are moved to their place": ("pathlib.Path.replace", False),
    "behind a file that was moved": ("pathlib.Path.replace", True),
    "before the save": ("darkit_nb.convert.driver.save_converted", False),
    "between the save and clearing away": ("darkit_nb.convert.driver.save_converted", True),
}
"""A function, and whether the process dies behind a call of it rather than before."""


def ids() -> Tensor:
    """Calibration text."""
    return torch.randint(2, 97, (6, 20), generator=torch.Generator().manual_seed(1))


def spec() -> ConversionSpec:
    """What is converted into what."""
    return preset("darkit", samples=6, sample_length=20)


def killed(folder: Path, out: Path, moment: str, count: int) -> bool:
    """Convert in a process that dies at the `count`-th such moment; whether it came that far."""
    return _run(folder, out, moment, count) == -signal.SIGKILL


def converted(folder: Path, out: Path) -> None:
    """Convert in a process that nobody harms."""
    assert _run(folder, out, None, 0) == 0


def _run(folder: Path, out: Path, moment: str | None, count: int) -> int | None:
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload([__name__])
    child = server.Process(target=_convert, args=(folder, out, moment, count))
    child.start()
    child.join()
    return child.exitcode


def _convert(folder: Path, out: Path, moment: str | None, count: int) -> None:
    torch.set_num_threads(1)
    with nullcontext() if moment is None else _dying(*MOMENTS[moment], count):
        convert_model(folder, spec(), calibration=ids(), out=out)


def _dying(where: str, behind: bool, count: int) -> AbstractContextManager[Any]:
    place, _, name = where.rpartition(".")
    original: Callable[..., Any] = getattr(resolve_name(place), name)
    calls = 0

    def call(*args: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == count and not behind:
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*args, **named)
        if calls == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return patch(where, call)
