"""Whether a model, and everything around it, is bit for bit what it was."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn


@dataclass
class Membranes:
    """State as a record."""

    v: torch.Tensor = field(default_factory=lambda: torch.ones(3))
    count: int = 0


def state_of(model: nn.Module) -> list[Any]:
    """A copy of everything a model holds, gradients and hooks included, beside the objects themselves."""
    own = []
    for name, module in model.named_modules():
        kept = {k: v for k, v in vars(module).items() if k not in ("config", "_modules")}
        gradients = [None if p.grad is None else p.grad.clone() for p in module.parameters(recurse=False)]
        places = {k: id(v) for k, v in kept.items()}
        own.append((name, module.training, content_of(kept), gradients, places))
    return own


def content_of(value: Any) -> Any:
    """Tensors and containers as copies, everything else as it is."""
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {key: content_of(each) for key, each in value.items()}
    if isinstance(value, list | tuple | deque):
        return [content_of(each) for each in value]
    return content_of(vars(value)) if isinstance(value, Membranes) else value


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.shape == b.shape and (a.is_meta or torch.equal(a, b))
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return a is b or a == b


def state_around() -> list[Any]:
    """Random states and the switches of PyTorch."""
    return [
        torch.get_rng_state(),
        random.getstate(),
        [part.tolist() if hasattr(part, "tolist") else part for part in np.random.get_state()],
        torch.is_grad_enabled(),
        torch.backends.mha.get_fastpath_enabled(),
        len(torch.nn.modules.module._global_forward_hooks),
        len(torch.nn.modules.module._global_forward_pre_hooks),
    ]


class Restless(nn.Module):
    """Changes whatever it can at every forward."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.norm, self.drop = nn.Linear(4, 4), nn.BatchNorm1d(4, momentum=0.5), nn.Dropout(0.5)
        self.register_buffer("seen", torch.zeros(4))
        self.memory: dict[str, Any] = {"v": torch.ones(4), "log": [], "deep": [torch.zeros(2), {"u": torch.zeros(3)}]}
        self.history: list[torch.Tensor] = []
        self.last = deque([torch.zeros(1)], maxlen=2)
        self.record = Membranes()
        self.pair = (torch.zeros(2), 1)
        self.steps = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen += 1
        self.memory["v"] = self.memory["v"] * 2
        self.memory["log"].append(3)
        self.memory["deep"][0] += 1
        self.memory["deep"][1]["u"] = torch.ones(3)
        self.history.append(x)
        self.last.append(x)
        self.record.v += 1
        self.record.count += 1
        self.pair[0].fill_(7)
        self.steps += 1
        self.late = x
        random.random(), np.random.rand()
        return self.drop(self.norm(self.fc(x.mul_(2)))) + torch.rand(4)
