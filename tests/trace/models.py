"""Models that the tests of traces share: other architectures, and neurons called as other libraries call theirs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint


class Residual(nn.Module):
    """A block of a residual network."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(x + self.bn2(self.conv2(out)))


class SmallResNet(nn.Module):
    """Stem, two stages of two blocks, classifier, as torchvision arranges them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = nn.Sequential(Residual(8), Residual(8))
        self.layer2 = nn.Sequential(nn.Conv2d(8, 16, 1, stride=2), Residual(16), Residual(16))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
        return self.fc(torch.flatten(self.avgpool(self.layer2(self.layer1(x))), 1))


class Tagger(nn.Module):
    """Embedding, two-layer bidirectional LSTM, classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(20, 6)
        self.lstm = nn.LSTM(6, 5, num_layers=2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(10, 3)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.lstm(self.table(ids))[0])


class Tied(nn.Module):
    """An output that shares the weight of the input table."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(20, 6)
        self.out = nn.Linear(6, 20, bias=False)
        self.out.weight = self.table.weight

    def forward(self, ids: Tensor) -> Tensor:
        return self.out(self.table(ids))


class Shared(nn.Module):
    """One linear layer under two names, run three times; another that never runs."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.again = self.first
        self.idle = nn.Linear(4, 9)

    def forward(self, x: Tensor) -> Tensor:
        return self.first(self.again(self.first(x)))


@dataclass
class Answer:
    scores: Tensor
    extras: dict[str, list[Tensor]]


class Loose(nn.Module):
    """Takes anything, returns a dataclass with nested tensors, and decides by what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleDict({"a": nn.Linear(4, 4), "b": nn.Linear(4, 2)})

    def forward(self, *args: Tensor, flip: bool = False, **kwargs: Tensor) -> Answer:
        hidden = self.parts["a"](args[0] + kwargs["bias"])
        scores = self.parts["b"](-hidden if flip else hidden)
        return Answer(scores, {"hidden": [hidden, F.linear(hidden, self.parts["b"].weight)]})


class Broken(nn.Module):
    """Fails in its third layer, whose input does not fit."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(9, 4), nn.Linear(4, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


# -- neurons as other libraries call them, S spike steps ---------------------------------------------------------------


class StepNeuron(nn.Module):
    """Called once a step and keeps its membrane itself, as SpikingJelly's neurons in step mode "s"."""

    def __init__(self) -> None:
        super().__init__()
        self.v: Tensor | float = 0.0

    def forward(self, x: Tensor) -> Tensor:
        self.v = self.v + (x - self.v) / 2.0
        spike = (self.v >= 1.0).to(x.dtype)
        self.v = self.v * (1.0 - spike)
        return spike


class StateNeuron(nn.Module):
    """Called once a step with its membrane, which it hands back, as snnTorch's neurons."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("beta", torch.tensor(0.9))

    def forward(self, x: Tensor, membrane: Tensor) -> tuple[Tensor, Tensor]:
        membrane = self.beta * membrane + x
        spike = (membrane > 1.0).to(x.dtype)
        return spike, membrane - spike


class StepMode(nn.Module):
    """The whole network once a step; state inside the neurons."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps
        self.fc1, self.lif1 = nn.Linear(6, 8), StepNeuron()
        self.fc2, self.lif2 = nn.Linear(8, 4), StepNeuron()

    def forward(self, x: Tensor) -> Tensor:
        total = 0.0
        for _ in range(self.steps):
            total = total + self.lif2(self.fc2(self.lif1(self.fc1(x))))
        return total / self.steps


class StateLoop(nn.Module):
    """The whole network once a step; state passed along."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps
        self.fc1, self.lif1 = nn.Linear(6, 8), StateNeuron()
        self.fc2, self.lif2 = nn.Linear(8, 4), StateNeuron()

    def forward(self, x: Tensor) -> Tensor:
        mem1, mem2 = torch.zeros(x.shape[0], 8), torch.zeros(x.shape[0], 4)
        sent = []
        for _ in range(self.steps):
            spike1, mem1 = self.lif1(self.fc1(x), mem1)
            spike2, mem2 = self.lif2(self.fc2(spike1), mem2)
            sent.append(spike2)
        return torch.stack(sent).mean(0)


class Unrolled(nn.Module):
    """Neurons written out in the forward of the network, operator by operator."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps
        self.fc1, self.fc2 = nn.Linear(6, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        v1, v2 = torch.zeros(x.shape[0], 8), torch.zeros(x.shape[0], 4)
        total = torch.zeros(x.shape[0], 4)
        for _ in range(self.steps):
            v1 = 0.5 * v1 + self.fc1(x)
            s1 = (v1 > 1.0).to(x.dtype)
            v1 = v1 - s1
            v2 = 0.5 * v2 + self.fc2(s1)
            s2 = (v2 > 1.0).to(x.dtype)
            v2 = v2 - s2
            total = total + s2
        return total / self.steps


# -- models that ask something of whoever looks at them ----------------------------------------------------------------


class Functional(nn.Module):
    """Calls a layer with other weights, weights without a module, and a layer for each row."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.each = nn.Linear(8, 8), nn.Linear(8, 4)
        self.weights = nn.ParameterList([nn.Parameter(torch.randn(8, 8)) for _ in range(3)])

    def forward(self, x: Tensor) -> Tensor:
        x = torch.func.functional_call(self.layer, {"weight": 2 * self.layer.weight}, (x,))
        for weight in self.weights:
            x = x @ weight
        return torch.einsum("bi,oi->bo", x, self.each.weight) + self.each(x)


class Nested(nn.Module):
    """Takes and returns dictionaries in dictionaries, of tensors and other things."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.attend = nn.Linear(8, 8), nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, batch: dict[str, dict[str, Tensor]], *, scale: float = 1.0) -> dict[str, Any]:
        hidden = self.embed(batch["x"]["v"]) * scale
        out, weights = self.attend(hidden, hidden, hidden)
        return {"out": {"hidden": out, "weights": [weights, None]}, "count": 3}


class Patches(nn.Module):
    """A vision transformer of PyTorch's own layers."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 16, 4, 4)
        self.first = nn.Parameter(torch.zeros(1, 1, 16))
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        return self.head(self.blocks(torch.cat([self.first.expand(len(x), -1, -1), x], 1))[:, 0])


class Scan(nn.Module):
    """A state space, step by step, as a Mamba without its kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.mix, self.leave = nn.Linear(8, 16), nn.Linear(8, 8), nn.Linear(8, 8)
        self.conv = nn.Conv1d(8, 8, 4, groups=8, padding=3)
        self.decay = nn.Parameter(-torch.rand(8, 4))

    def forward(self, x: Tensor) -> Tensor:
        u, gate = self.enter(x).chunk(2, -1)
        u = F.silu(self.conv(u.transpose(1, 2))[..., : x.shape[1]].transpose(1, 2))
        write, read = self.mix(u).chunk(2, -1)
        state, found = torch.zeros(len(x), 8, 4), []
        for t in range(x.shape[1]):
            state = self.decay.exp() * state + u[:, t, :, None] * write[:, t, None, :]
            found.append((state @ read[:, t, :, None]).squeeze(-1))
        return self.leave(torch.stack(found, 1) * F.silu(gate))


class Restarts(nn.Module):
    """Blocks under gradient checkpointing."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.Sequential(nn.Linear(8, 8), nn.ReLU()) for _ in range(3)])

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=False)
        return x


class HalfPrecision(nn.Module):
    """One layer under autocast, and one that writes into its input."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.act = nn.Linear(8, 8), nn.Linear(8, 8), nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            hidden = self.first(x)
        return self.act(self.second(hidden.float()).add_(1.0))


class Reparametrised(nn.Module):
    """Weights that are computed from others at every call."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.utils.parametrizations.weight_norm(nn.Linear(8, 8))
        self.spectral = nn.utils.parametrizations.spectral_norm(nn.Linear(8, 8))

    def forward(self, x: Tensor) -> Tensor:
        return self.spectral(self.norm(x))


class Experts(nn.Module):
    """Sends each token to two of four experts."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(8, 4, bias=False)
        self.experts = nn.ModuleList([nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8)) for _ in range(4)])

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])
        weights, chosen = torch.topk(self.gate(flat).softmax(-1), 2)
        out = torch.zeros_like(flat)
        for number, expert in enumerate(self.experts):
            row, rank = torch.where(chosen == number)
            if row.numel():
                out.index_add_(0, row, expert(flat[row]) * weights[row, rank, None])
        return out.view_as(x)


class Until(nn.Module):
    """Repeats until the values are small."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        while x.norm() > 0.1:
            x = 0.3 * x + 0 * self.layer(x)
        return x


class Forces(nn.Module):
    """The gradient of an energy, taken inside the forward."""

    def __init__(self) -> None:
        super().__init__()
        self.energy = nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            place = x.detach().requires_grad_()
            (force,) = torch.autograd.grad(self.energy(place).sum(), place)
        return -force


class Careful(nn.Module):
    """Catches the error of its first module and calls another in its place."""

    def __init__(self) -> None:
        super().__init__()
        self.bad, self.good = nn.Linear(3, 3), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        try:
            return self.bad(x)
        except RuntimeError:
            return self.good(x).relu()
