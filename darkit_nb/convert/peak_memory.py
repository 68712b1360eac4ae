"""The most memory a conversion held."""

from __future__ import annotations

from pathlib import Path

import psutil
import torch


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
