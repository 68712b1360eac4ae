"""How a GPU is measured: working sets that rotate, CUDA graphs, and a rival of an environment of its own.

The same code runs on a CPU, without graphs and with small tensors: that is how it is tested where there is no GPU.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .harness import compare, not_measured

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
        agree: Callable[[Mapping[str, Any]], Mapping[str, float] | None],
        graphs: Sequence[str] = (),
        counted: Mapping[str, int] | None = None,
        copied: int = 0,
        **facts: Any,
    ) -> dict[str, Any]:
        """Time rivals over rotating working sets; seconds are those of one call.

        Args:
            operation: name of the row.
            sets: working sets.
            rivals: what to time, given a working set; the first is the baseline, a copy where there is a limit. One
                that does not run is left out, and the row says why; the baseline and what begins with "ours" must.
            agree: raises unless the results of the first working set are the same work; what it returns, if anything,
                is kept as "differs".
            graphs: rivals that are timed as CUDA graphs too, under "<name>, graph".
            counted: least bytes each rival has to move.
            copied: bytes the baseline moves.
            facts: of the row.
        """
        rivals, missing = self._running(rivals, sets[0])
        differs = agree({name: call(sets[0]) for name, call in rivals.items()})

        def over_all(call: Call) -> Callable[[], None]:
            def run() -> None:
                for each in sets:
                    call(each)

            return run

        timed = {name: over_all(call) for name, call in rivals.items()}
        for name in graphs:
            try:
                replay = self.graphed(rivals[name], sets) if name in rivals else None
            except RuntimeError as error:
                missing[f"{name}, graph"] = said(error)
                continue
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
        notes = {"differs": differs, "not_measured_rivals": missing}
        measured |= {name: note for name, note in notes.items() if note}
        return {"operation": operation, "on": self.device, **facts, "working_sets": len(sets), **measured}

    def _running(self, rivals: Mapping[str, Call], one: Any) -> tuple[dict[str, Call], dict[str, str]]:
        """Rivals that run here, and why the others do not."""
        running, missing = {}, {}
        for place, (name, call) in enumerate(rivals.items()):
            try:
                call(one)
                if self.wait is not None:
                    self.wait()
            except Exception as error:
                if place == 0 or name.startswith("ours"):
                    raise
                missing[name] = said(error)
            else:
                running[name] = call
        return running, missing


def said(error: BaseException) -> str:
    """The first line of an error, for a row."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"[:300]


def part(
    operation: str, rows: Callable[[], Iterator[dict[str, Any]]], device: str, **facts: Any
) -> Iterator[dict[str, Any]]:
    """Rows of one part of a benchmark, each with a compiler that knows nothing of the parts before.

    A part that fails ends with a row that says why, and the next one begins.
    """
    torch._dynamo.reset()
    try:
        yield from rows()
    except Exception as error:  # noqa: BLE001 - as above
        yield not_measured(operation, said(error), on=device, **facts)
    if device == "cuda":
        try:
            torch.cuda.empty_cache()
        except RuntimeError:  # a broken context: the next part will say so
            return


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
        needed = "torch, cupy-cuda13x and spikingjelly==0.0.0.0.14"
        return f"{OLD_SPIKINGJELLY} names no interpreter, which needs {needed}"
    script = Path(__file__).with_name("spikingjelly_14.py")
    command = [python, str(script), str(steps), str(neurons), str(rounds)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return said(error)
    if done.returncode:
        return f"{python} failed: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else done.returncode}"
    return json.loads(done.stdout.splitlines()[-1])


def leaf(x: Tensor) -> Tensor:
    """`x` as the end of a gradient."""
    return x.detach().requires_grad_()


@cache
def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """By inductor, for the shapes at hand; its backward may run more than once."""
    torch._functorch.config.donated_buffer = False  # pyright: ignore[reportAttributeAccessIssue]
    return torch.compile(function, dynamic=False)


def agreeing(results: Mapping[str, Any], *, expected: str, exact: bool) -> dict[str, float]:
    """Ours gives what the definition gives, spikes exactly; of rivals the share of elements in which they differ.

    A compiler that divides by its own rule moves a few counts; beyond one in a hundred it does other work.
    """
    wanted, shares = results[expected].float(), {}
    for name, found in results.items():
        if name in ("copy", expected) or name.startswith("published"):
            continue
        tolerance = 0.0 if exact else 2e-2
        if name.startswith("ours"):
            torch.testing.assert_close(found.float(), wanted, rtol=tolerance, atol=tolerance, msg=name)
            continue
        off = (found.float() - wanted).abs() > tolerance * (1 + wanted.abs())
        share = float(off.float().mean())
        if share > 0.01:
            raise AssertionError(f"{name} differs in {share:.1%} of the elements")
        if share:
            shares[name] = float(f"{share:.2g}")
    return shares


def gradient_of(hand: Call, each: Sequence[Any]) -> Tensor:
    """Forward and backward of `hand` in one: the gradient of the first tensor of a working set for the third."""
    end = leaf(each[0])
    return torch.autograd.grad(hand(end), end, each[2])[0]


def backward_of(hand: Call) -> Call:
    """Backward alone: the forward of every working set runs once, and is kept."""
    held: dict[int, tuple[Tensor, Tensor]] = {}

    def run(each: Sequence[Any]) -> Tensor:
        if id(each) not in held:
            end = leaf(each[0])
            held[id(each)] = hand(end), end
        result, end = held[id(each)]
        return torch.autograd.grad(result, end, each[2], retain_graph=True)[0]

    return run


def random_sets(bench: Bench, shape: tuple[int, int], dtype: torch.dtype) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Working sets of an input, room for a copy of it, and a gradient."""

    def make(index: int) -> tuple[Tensor, Tensor, Tensor]:
        random = torch.Generator(bench.device).manual_seed(index)
        x, grad = (torch.randn(shape, generator=random, device=bench.device).to(dtype) for _ in range(2))
        return x, torch.empty_like(x), grad

    return bench.sets(make, 2 * shape[0] * shape[1] * dtype.itemsize)


def copy_of(each: Sequence[Any]) -> Tensor:
    """What everything is measured in."""
    return each[1].copy_(each[0])
