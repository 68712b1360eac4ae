"""How a GPU is measured: working sets that rotate, CUDA graphs, and a rival of an environment of its own.

The same code runs on a CPU, without graphs and with small tensors: that is how it is tested where there is no GPU.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .harness import compare

OLD_SPIKINGJELLY = "DARKIT_SPIKINGJELLY_14"
"""Names an interpreter that has torch, CuPy and spikingjelly==0.0.0.0.14."""

CACHES = 4
"""Working sets together are this many times the second-level cache: nothing is read from there by luck."""

Call = Callable[[Any], Any]


class Bench:
    """One device.

    Args:
        device: cuda, or cpu to try the code.
        rounds: how often each rival runs over all working sets.
    """

    def __init__(self, device: str, rounds: int) -> None:
        self.device, self.rounds = device, rounds
        self.on_gpu = device == "cuda"
        self.wait = torch.cuda.synchronize if self.on_gpu else None

    def sets(self, make: Callable[[int], Any], bytes_each: int) -> list[Any]:
        """Working sets, made from their number, enough to leave nothing of one in the cache when its turn comes."""
        cache = torch.cuda.get_device_properties(0).L2_cache_size if self.on_gpu else 0
        return [make(index) for index in range(max(2, -(-CACHES * cache // bytes_each)))]

    def graphed(self, call: Call, sets: Sequence[Any]) -> Callable[[], None] | None:
        """All working sets in one CUDA graph, captured after a warm-up; None where there are no graphs."""
        if not self.on_gpu:
            return None
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                for each in sets:
                    call(each)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for each in sets:
                call(each)
        return graph.replay

    def row(
        self,
        operation: str,
        sets: Sequence[Any],
        rivals: Mapping[str, Call],
        *,
        agree: Callable[[Mapping[str, Any]], None],
        graphs: Sequence[str] = (),
        counted: Mapping[str, int] | None = None,
        copied: int = 0,
        **facts: Any,
    ) -> dict[str, Any]:
        """Time rivals over rotating working sets; seconds are those of one call.

        Args:
            operation: name of the row.
            sets: working sets.
            rivals: what to time, given a working set; the first is the baseline, a copy where there is a limit.
            agree: raises unless the results of the first working set are the same work.
            graphs: rivals that are timed as CUDA graphs too, under "<name>, graph".
            counted: least bytes each rival has to move.
            copied: bytes the baseline moves.
            facts: of the row.
        """
        agree({name: call(sets[0]) for name, call in rivals.items()})

        def over_all(call: Call) -> Callable[[], None]:
            def run() -> None:
                for each in sets:
                    call(each)

            return run

        timed = {name: over_all(call) for name, call in rivals.items()}
        for name in graphs:
            replay = self.graphed(rivals[name], sets)
            if replay is not None:
                timed[f"{name}, graph"] = replay
        measured = compare(timed, agree=lambda _: None, rounds=self.rounds, synchronise=self.wait)
        for spread in measured["seconds"].values():
            for quantile in spread:
                spread[quantile] = float(f"{spread[quantile] / len(sets):.4g}")
        if counted:
            measured["bandwidth_tb_s"] = float(
                f"{copied / measured['seconds'][next(iter(rivals))]['median'] / 1e12:.4g}"
            )
            measured["limit"] = _limits(measured, counted, copied)
        return {"operation": operation, "on": self.device, **facts, "working_sets": len(sets), **measured}


def _limits(measured: Mapping[str, Any], counted: Mapping[str, int], copied: int) -> dict[str, dict[str, float]]:
    """Counted bytes of each rival and the fraction of the copy's bandwidth it reaches with them, graphs too."""
    found = {}
    for name, ratio in measured["ratio"].items():
        bytes_ = counted.get(name.removesuffix(", graph"))
        if bytes_ is not None:
            found[name] = {"bytes": bytes_, "fraction": float(f"{bytes_ / copied / ratio['median']:.4g}")}
    return found


def old_spikingjelly(steps: int, neurons: int, rounds: int) -> dict[str, Any] | str:
    """What SpikingJelly 0.0.0.0.14 needs in its own environment, in copies of that process; or why not measured."""
    python = os.environ.get(OLD_SPIKINGJELLY)
    if not python:
        return f"{OLD_SPIKINGJELLY} names no interpreter with spikingjelly==0.0.0.0.14 and CuPy"
    script = Path(__file__).with_name("spikingjelly_14.py")
    command = [python, str(script), str(steps), str(neurons), str(rounds)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        return f"{python} failed: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else done.returncode}"
    return json.loads(done.stdout.splitlines()[-1])


def leaf(x: Tensor) -> Tensor:
    """`x` as the end of a gradient."""
    return x.detach().requires_grad_()
