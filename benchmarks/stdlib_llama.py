"""The bundled decoder: how well it predicts held-out files of the standard library, and how strong its outliers are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from darkit_nb.config import DataConfig
from darkit_nb.evaluate import evaluate_run
from darkit_nb.evaluate.held_out import held_out_text
from darkit_nb.records.bundled import STDLIB_LLAMA, bundled_models
from darkit_nb.spikify import load_model

WINDOW = 256


def run(quick: bool) -> Iterator[dict[str, Any]]:
    """One row."""
    folder = bundled_models()[STDLIB_LLAMA]
    scored = evaluate_run(folder, dataset="stdlib", max_windows=4 if quick else 400)
    model = load_model(STDLIB_LLAMA)
    ids = held_out_text(folder, DataConfig(), None).ids[: 8 * WINDOW].view(-1, WINDOW)
    ratios = outliers(model, ids)
    yield {
        "model": STDLIB_LLAMA,
        "parameters": sum(each.numel() for each in model.parameters()),
        "bytes": sum(path.stat().st_size for path in folder.iterdir()),
        "text": scored.text,
        "window": scored.perplexity.window,
        "windows": scored.perplexity.windows,
        "perplexity": round(scored.perplexity.perplexity, 3),
        "bits_per_byte": round(scored.perplexity.bits_per_byte or 0.0, 4),
        "largest_over_median_feature": {"median": sorted(ratios)[len(ratios) // 2], "largest": max(ratios)},
    }


@torch.no_grad()
def outliers(model: nn.Module, ids: Tensor) -> list[float]:
    """For every linear layer of the blocks: the largest |x| of its widest input feature over that of the median one."""
    found: list[float] = []

    def keep(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        largest = given[0].abs().flatten(0, -2).amax(0)
        found.append(round(float(largest.max() / largest.median()), 2))

    hooks = [
        layer.register_forward_pre_hook(keep)
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear) and ".layers." in f".{name}"
    ]
    model(ids)
    for hook in hooks:
        hook.remove()
    return found
