"""A conversion in several processes: each takes its share of the samples, the first one writes and speaks."""

from __future__ import annotations

from pathlib import Path

import psutil
import torch

from darkit_nb.convert.statistics import distributed


def rank() -> int:
    """Which process this is, from 0."""
    return torch.distributed.get_rank() if distributed() else 0


def world() -> int:
    """How many there are."""
    return torch.distributed.get_world_size() if distributed() else 1


def is_main() -> bool:
    """Whether this is the one that writes."""
    return rank() == 0


def wait_for_all() -> None:
    """Go on when every process is here."""
    if distributed():
        torch.distributed.barrier()


class PeakMemory:
    """Most memory this process held, as far as the system tells."""

    def __init__(self) -> None:
        self.bytes: int | None = None

    def update(self, device: torch.device) -> int:
        """Look now."""
        if device.type == "cuda":
            found = torch.cuda.max_memory_allocated(device)
        else:
            info = psutil.Process().memory_info()
            found = getattr(info, "peak_wset", 0) or _peak_of_linux() or info.rss
        self.bytes = most = max(found, self.bytes or 0)
        return most


def _peak_of_linux() -> int:
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0
