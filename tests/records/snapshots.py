"""Spike snapshots made by hand, without a model, for records and widgets."""

from __future__ import annotations

from typing import Any

import numpy as np

from darkit_nb.records.snapshot import LayerSpikes, SpikeSnapshot


def layer(name: str = "model.layers.0.mlp.up_proj", *, tokens: int = 3, features: int = 6, **changes: Any) -> Any:
    """Counts 0, 1, 2, … over tokens × features; every other feature is salient, with two steps of 16 levels."""
    counts = (np.arange(tokens * features) % 31).reshape(tokens, features).astype(np.uint8)
    salient = np.arange(features) % 2 == 0
    counts = np.where(salient, counts, np.minimum(counts, 15)).astype(np.uint8)
    scale = np.tile(np.array([0.5, 0.25], dtype=np.float32), (tokens, 1, 1))
    zero_point = np.full((tokens, 1, 2), 3, dtype=np.int32)
    per_feature = np.where(salient, 0.25, 0.5)
    plain: dict[str, Any] = {
        "name": name,
        "kind": "linear",
        "counts": counts,
        "num_levels": 16,
        "num_steps": 2,
        "coding": "rate",
        "ranges": "shared",
        "signed": False,
        "salient": salient,
        "scale": scale,
        "zero_point": zero_point,
        "membrane": ((counts.astype(np.float32) - 3) * per_feature).astype(np.float16),
    }
    return LayerSpikes(**plain | changes)


def snapshot(*layers: LayerSpikes, tokens: tuple[str, ...] = ("def", " f", "(")) -> SpikeSnapshot:
    return SpikeSnapshot("".join(tokens), tokens, 40, layers or (layer(), layer("model.layers.1.mlp.up_proj")))
