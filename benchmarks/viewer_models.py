"""What the viewers of models are given to draw."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from darkit_nb.models.build import build_model


class Fire(nn.Module):
    """A leaky neuron that is called once a spike step."""

    def __init__(self) -> None:
        super().__init__()
        self.membrane: Tensor | float = 0.0

    def forward(self, x: Tensor) -> Tensor:
        self.membrane = self.membrane + (x - self.membrane) / 2
        spike = (self.membrane >= 0.5).to(x.dtype)
        self.membrane = self.membrane * (1 - spike)
        return spike


class Attention(nn.Module):
    """Causal attention of spiking queries, keys and values."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.fire, self.qkv, self.out = Fire(), nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.fire(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.out(functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))


class Block(nn.Module):
    """A block of GPT-2 whose linear layers are fed with spikes."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1, self.attn = nn.LayerNorm(width), Attention(width, heads)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(Fire(), nn.Linear(width, 4 * width), Fire(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class SpikingGPT(nn.Module):
    """Twelve blocks, run once a spike step, as SpikingJelly and snnTorch do it."""

    def __init__(self, steps: int, width: int = 64, blocks: int = 12) -> None:
        super().__init__()
        self.steps = steps
        self.wte, self.wpe = nn.Embedding(256, width), nn.Embedding(64, width)
        self.h = nn.ModuleList([Block(width, 4) for _ in range(blocks)])
        self.ln_f, self.lm_head = nn.LayerNorm(width), nn.Linear(width, 256, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        embedded = self.wte(ids) + self.wpe(torch.arange(ids.shape[1], device=ids.device))
        total = torch.zeros_like(embedded)
        for _ in range(self.steps):
            hidden = embedded
            for block in self.h:
                hidden = block(hidden)
            total = total + hidden
        return self.lm_head(self.ln_f(total / self.steps))


class Residual(nn.Module):
    """Two convolutions around a shortcut."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False), nn.BatchNorm2d(outside)
        self.conv2, self.bn2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False), nn.BatchNorm2d(outside)
        self.downsample = nn.Conv2d(inside, outside, 1, stride, bias=False) if stride > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        return functional.relu(out + (x if self.downsample is None else self.downsample(x)))


class ResNet18(nn.Module):
    """Eight residual blocks in four stages. With `classes_see` other than 512 the last layer cannot take its input."""

    def __init__(self, classes_see: int = 512) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        stages = [(64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2)]
        self.layers = nn.ModuleList([nn.Sequential(Residual(i, o, s), Residual(o, o, 1)) for i, o, s in stages])
        self.fc = nn.Linear(classes_see, 1000)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(functional.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for layer in self.layers:
            x = layer(x)
        return self.fc(functional.adaptive_avg_pool2d(x, 1).flatten(1))


def llama_7b() -> tuple[nn.Module, Tensor]:
    """LLaMA-7B without weights; its input lies on the meta device too."""
    with torch.device("meta"):
        return build_model("spike-llama-7b").eval(), torch.zeros(1, 128, dtype=torch.long)


def models() -> dict[str, Callable[[], tuple[nn.Module, Any]]]:
    """What is drawn, by name: a model and its one argument."""
    ids, image = torch.arange(16)[None], torch.randn(1, 3, 64, 64)
    return {
        "GPT-2 shape, 12 blocks, 1 spike step": lambda: (SpikingGPT(1).eval(), ids),
        "GPT-2 shape, 12 blocks, 4 spike steps": lambda: (SpikingGPT(4).eval(), ids),
        "ResNet-18 shape": lambda: (ResNet18().eval(), image),
        "ResNet-18 shape that fails in its last layer": lambda: (ResNet18(classes_see=500).eval(), image),
        "LLaMA-7B shape, meta device": llama_7b,
    }
