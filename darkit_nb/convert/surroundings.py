"""What lies around the blocks of a conversion, and how a finished block is kept and comes back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from darkit_nb.convert.attention import route_attention
from darkit_nb.convert.skeleton import Skeleton
from darkit_nb.records.conversion_spec import ConversionSpec
from darkit_nb.spikify.converted import fill_block, layer_layout, rotate_keys


@dataclass(frozen=True)
class Surroundings:
    """What all blocks of a conversion share.

    Attributes:
        skeleton: the model without its blocks.
        rotation: `[D, D]` of the residual stream, or None.
        spec: what is converted how.
        felt: gradients behind each block (`sensitivity.stream_gradients`); empty where rounding is not shaped.
    """

    skeleton: Skeleton
    rotation: Tensor | None
    spec: ConversionSpec
    felt: Sequence[Sequence[Tensor]] = ()

    @property
    def rms_norms(self) -> tuple[str, ...]:
        """Norms of a block that became RMSNorms."""
        family = self.skeleton.family
        return tuple(name for name, _ in family.norms) if self.rotation is not None and family.centred else ()

    def to_keep(self, index: int, block: nn.Module) -> tuple[dict[str, dict[str, Any]], dict[str, Tensor]]:
        """Layouts of the layers of a converted block, and its tensors, both by their names in the model."""
        name = self.skeleton.block_name(index)
        layers = {
            f"{name}.{layer}": layer_layout(block.get_submodule(layer), self.spec.spike)
            for layer in self.skeleton.family.linears
        }
        return layers, {f"{name}.{key}": value for key, value in block.state_dict().items()}

    def kept_block(self, index: int, layers: Mapping[str, dict[str, Any]], tensors: Mapping[str, Tensor]) -> nn.Module:
        """The converted block that `to_keep` described."""
        name, spike = self.skeleton.block_name(index), self.spec.spike
        block = self.skeleton.empty_block(index)
        fill_block(block, f"{name}.", layers, spike, [f"{name}.{norm}" for norm in self.rms_norms])
        if spike is not None and spike.attention:
            attention = route_attention(block, index, self.skeleton, spike)
            if self.rotation is not None:
                rotate_keys([attention])
        block.load_state_dict({key.removeprefix(f"{name}."): value for key, value in tensors.items()})
        return block.eval().requires_grad_(False)
