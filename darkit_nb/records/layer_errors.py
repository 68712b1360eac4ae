"""Where a converted model departs from its float original."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class LayerCodingError:
    """What spikes in place of floats do to the output of one layer.

    Attributes:
        name: dotted name of the layer.
        error: squared error of the output over its squared size.
    """

    name: str
    error: float


@dataclass(frozen=True, kw_only=True)
class BlockStreamError:
    """How far the residual stream behind a block has departed from the float model's.

    Attributes:
        name: dotted name of the block.
        error: relative, of the products of all pairs of tokens of a sequence, which no rotation changes.
    """

    name: str
    error: float


@dataclass(frozen=True, kw_only=True)
class LayerErrorReport:
    """Errors of all layers and blocks on the same text.

    Attributes:
        layers: in the order of the model.
        blocks: likewise.
        tokens: they were measured on.
    """

    layers: tuple[LayerCodingError, ...]
    blocks: tuple[BlockStreamError, ...]
    tokens: int

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        plain = dataclasses.asdict(self)
        return {**plain, "layers": list(plain["layers"]), "blocks": list(plain["blocks"])}
