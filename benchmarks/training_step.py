"""One training step of a spiking preset (forward, backward, AdamW), its float twin, and the published formulation.

Rivals have the same weights, masks and tokens. Before anything is timed, ours with the published codes and gradient
must give the loss and the gradients of the published formulation. Bytes saved for the backward are those of the tensors
autograd keeps, parameters not counted; the peak is what a step allocates beyond what was there before it.

Two threads where the machine has two: OMP_NUM_THREADS=2 darkit-nb bench training_step
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from darkit_nb.models.build import build_model
from darkit_nb.records.spike_spec import SpikeSpec
from darkit_nb.spikify import spikify

from .harness import compare
from .rivals import as_published, float_twin, relative_error

SPEC = SpikeSpec()
OURS, FLOAT, EAGER, COMPILED = "ours", "float twin", "published, eager", "published, torch.compile"
OURS_COMPILED = "ours, torch.compile"
SHAPES = (("spike-llama-nano", 8, 256), ("spike-llama-micro", 8, 256), ("spike-llama-mini", 2, 256))
VOCABULARY = 258


def spiking(preset: str, spec: SpikeSpec, ids: Tensor) -> nn.Module:
    """A spiking model whose salient features were chosen by one forward in training, and stay."""
    model = build_model(preset, vocab_size=VOCABULARY, seq_len=ids.shape[1], eos_id=256, pad_id=257)
    model = spikify(model, dataclasses.replace(spec, reselect_every=0)).to(cast(Any, ids.device)).train()
    model(ids, labels=ids, use_cache=False)
    return model


def loss_of(model: Callable[..., Any], ids: Tensor) -> Tensor:
    """Mean cross entropy of the next token, under bfloat16 autocast on a GPU."""
    with torch.autocast("cuda", dtype=torch.bfloat16, enabled=ids.is_cuda):
        return model(input_ids=ids, labels=ids, use_cache=False).loss


class Step:
    """A model with its optimizer; called, it takes one step and returns the loss before it."""

    def __init__(self, model: nn.Module, ids: Tensor, *, compiled: bool = False) -> None:
        self.model, self.ids = model, ids
        self.run: Callable[..., Any] = torch.compile(model) if compiled else model
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def __call__(self) -> float:
        loss = loss_of(self.run, self.ids)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(loss.detach())

    def saved_bytes(self) -> int:
        """Bytes autograd keeps between forward and backward, each storage once, without parameters and tokens."""
        skipped = {each.untyped_storage().data_ptr() for each in (*self.model.parameters(), self.ids)}
        kept: dict[int, Tensor] = {}  # holds the tensors, so that no address is given out twice

        def pack(tensor: Tensor) -> Tensor:
            kept.setdefault(tensor.untyped_storage().data_ptr(), tensor)
            return tensor

        with saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = loss_of(self.run, self.ids)
        total = sum(each.untyped_storage().nbytes() for place, each in kept.items() if place not in skipped)
        loss.backward()
        self.optimizer.zero_grad()
        return total

    def peak_bytes(self) -> int:
        """Most bytes allocated at a time by one step, beyond those that lay there before."""
        if self.ids.is_cuda:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            self()
            return torch.cuda.max_memory_allocated() - before
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
            self()
        events = cast(Any, profile.profiler).kineto_results.events()
        changes = sorted((each.start_ns(), each.nbytes()) for each in events if each.name() == "[memory]")
        now = most = 0
        for _, change in changes:
            now += change
            most = max(most, now)
        return most


def check(preset: str, ids: Tensor) -> dict[str, float]:
    """Ours with the published codes and gradient is the published formulation: loss and all gradients.

    Behind the first layer a rounding may move a count here and there, and with it a little of the gradient.
    """
    spec = dataclasses.replace(SPEC, coding="paper", gradient="range")
    ours = spiking(preset, spec, ids)
    theirs = as_published(copy.deepcopy(ours))
    losses, gradients = [], []
    for model in (ours, theirs):
        loss = model(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        losses.append(float(loss.detach()))
        gradients.append(torch.cat([each.grad.flatten() for each in model.parameters() if each.grad is not None]))
    apart = {"loss": abs(losses[0] / losses[1] - 1), "gradient": relative_error(*gradients)}
    assert apart["loss"] < 1e-4, apart
    assert apart["gradient"] < 1e-2, apart
    return apart


def measure(preset: str, batch: int, seq_len: int, *, rounds: int, compiled: bool, device: str = "cpu") -> dict:
    """One row."""
    ids = torch.randint(0, 256, (batch, seq_len), generator=torch.Generator().manual_seed(0)).to(device)
    apart = check(preset, ids[:1])
    model = spiking(preset, SPEC, ids)
    steps = {
        OURS: Step(model, ids),
        FLOAT: Step(float_twin(copy.deepcopy(model)), ids),
        EAGER: Step(as_published(copy.deepcopy(model)), ids),
    }
    if compiled:
        steps[COMPILED] = Step(as_published(copy.deepcopy(model)), ids, compiled=True)
        steps[OURS_COMPILED] = Step(copy.deepcopy(model), ids, compiled=True)

    def agree(losses: Any) -> None:
        spiking_ = [loss for name, loss in losses.items() if name != FLOAT]
        # The same spikes in other orders of sums; and the same model and text without them, which a deep untrained
        # model feels more than a shallow one.
        assert max(spiking_) - min(spiking_) < 0.02 * losses[FLOAT], losses
        assert abs(losses[OURS] - losses[FLOAT]) < 0.25 * losses[FLOAT], losses

    saved = {name: step.saved_bytes() for name, step in steps.items()}
    peak = {name: step.peak_bytes() for name, step in steps.items()}
    wait = torch.cuda.synchronize if ids.is_cuda else None
    measured = compare(steps, agree=agree, rounds=rounds, synchronise=wait)
    tokens = batch * seq_len
    return {
        "operation": "training step",
        "preset": preset,
        "parameters": sum(each.numel() for each in model.parameters()),
        "shape": [batch, seq_len],
        "dtype": "bfloat16 autocast" if ids.is_cuda else "float32",
        "spike": SPEC.to_dict(),
        "threads": torch.get_num_threads(),
        "agreement": apart,
        **measured,
        "tokens_per_s": {name: round(tokens / each["median"], 1) for name, each in measured["seconds"].items()},
        "saved_bytes": saved,
        "peak_bytes": peak,
    }


def run(quick: bool) -> Iterator[dict[str, Any]]:
    """One row a preset; `quick` compiles nothing."""
    if quick:
        yield measure("spike-llama-nano", 1, 32, rounds=2, compiled=False)
        return
    rows: list[Callable[[], dict]] = [
        partial(measure, *shape, rounds=9 if "mini" not in shape[0] else 5, compiled=True) for shape in SHAPES
    ]
    for row in rows:
        yield row()
