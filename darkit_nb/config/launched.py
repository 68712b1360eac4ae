"""What `accelerate launch` or torchrun told this process: which of how many it is."""

from __future__ import annotations

import os

_TOLD = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def launched_processes() -> int:
    """How many processes were started for this command; 1 where nobody started several."""
    told = all(name in os.environ for name in _TOLD)
    return max(1, _number("WORLD_SIZE", 1)) if told else 1


def launched_rank() -> int:
    """Which of them this is, from 0."""
    return _number("RANK", 0) if launched_processes() > 1 else 0


def launched_here() -> int:
    """How many of them share this machine."""
    return max(1, _number("LOCAL_WORLD_SIZE", launched_processes())) if launched_processes() > 1 else 1


def local_rank() -> int:
    """Which of those on this machine this is, from 0."""
    return _number("LOCAL_RANK", 0) if launched_processes() > 1 else 0


def _number(name: str, default: int) -> int:
    value = os.environ.get(name, "")
    return int(value) if value.isdecimal() else default
