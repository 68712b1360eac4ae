"""How many CPU cores this process may really use."""

from __future__ import annotations

import math
import os
from pathlib import Path

_QUOTA_V2 = Path("/sys/fs/cgroup/cpu.max")
_QUOTA_V1 = (Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us"))


def available_cores(quota_v2: Path = _QUOTA_V2, quota_v1: tuple[Path, Path] = _QUOTA_V1) -> int:
    """Cores of this process's affinity, limited by a container's quota; at least one.

    A container on a large machine sees all its cores and is throttled when it uses more than its share: torch's default
    of one thread per core then makes training many times slower.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = quota_v2.read_text().split()[:2]
    except (OSError, ValueError):
        try:
            quota, period = (path.read_text().strip() for path in quota_v1)
        except OSError:
            return max(1, cores)
    # "max" (version 2) and -1 (version 1) mean no limit.
    if not quota.isdigit() or not period.isdigit() or int(period) == 0:
        return max(1, cores)
    return max(1, min(cores, math.ceil(int(quota) / int(period))))
