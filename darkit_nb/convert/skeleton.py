"""A decoder taken apart: what runs before the blocks, and each block by itself, filled from the source when needed.

The model is built on the meta device, so it holds no weights. Its blocks are replaced by catchers that note what the
model hands to each block (masks, rotary embeddings, positions): whatever the family passes on, a block run by itself
gets exactly that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from darkit_nb.convert.model_source import ModelSource
from darkit_nb.convert.relations import Family, Widths, family_of, widths_of
from darkit_nb.convert.source import empty_model

TOKENS_PER_BATCH = 2048
"""Tokens run through a block at once; whole sequences, at least one."""

Call = tuple[tuple[Any, ...], dict[str, Any]]
"""What a block is called with after the hidden states."""


class _Catcher(nn.Module):
    """Stands in a block's place, notes what it is given and passes the hidden states on."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.seen: Call | None = None
        self.hidden: Tensor | None = None
        if hasattr(block, "attention_type"):  # read by decoders whose blocks have different masks
            self.attention_type = block.attention_type

    def forward(self, hidden: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        self.seen, self.hidden = (args, kwargs), hidden
        return hidden


class Skeleton:
    """The parts of a decoder.

    Args:
        source: where its weights are.
        dtype: that computations run in.
        device: where they run.

    Attributes:
        config: a copy of the source's, with scaled dot-product attention.
        family, widths: relations and sizes.

    Raises:
        ModelError: an architecture without relations, or a config transformers cannot build.
    """

    def __init__(
        self, source: ModelSource, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
    ) -> None:
        self.source, self.dtype, self.device = source, dtype, torch.device(device)
        self.family: Family = family_of(source.config)
        self.widths: Widths = widths_of(source.config)
        self.model = empty_model(source.config, dtype)
        self._shapes = {name: tuple(value.shape) for name, value in self.model.named_parameters()}
        self.config = self.model.config
        blocks = cast(nn.ModuleList, self.model.get_submodule(self.family.blocks))
        self._types = [type(block) for block in blocks]
        self._catchers = nn.ModuleList(_Catcher(block) for block in blocks)
        self.model.set_submodule(self.family.blocks, self._catchers)
        self._calls: dict[int, list[Call]] = {}

    @property
    def blocks(self) -> int:
        """Number of decoder blocks."""
        return len(self._types)

    def block_name(self, index: int) -> str:
        """Dotted name of a block in the model."""
        return f"{self.family.blocks}.{index}"

    def check_source(self) -> None:
        """Refuse, before any work, a checkpoint that lacks a weight or holds one that is of no use.

        Raises:
            ModelError: a weight that is missing, has another shape, or is not finite.
        """
        self.source.check_shapes(self._shapes)
        self.source.check_finite()

    # -- before the blocks -----------------------------------------------------------------------------------------

    def fill_front(self, weights: dict[str, Tensor] | None = None) -> None:
        """Give the embeddings and the final norm their weights, from `weights` or the source, and rebuild tables.

        Args:
            weights: full names of tensors that replace the stored ones: folded embeddings.
        """
        for name in (*self.family.embeddings, self.family.final_norm):
            module = self.model.get_submodule(name)
            module.to_empty(device=self.device)
            for key in module.state_dict():
                full = f"{name}.{key}"
                value = (weights or {}).get(full)
                value = self.source.tensor(full) if value is None else value
                getattr(module, key).data.copy_(value)
        for name, module in list(self.model.named_modules()):
            if any(buffer.is_meta for buffer in module.buffers(recurse=False)):
                # Rotary tables are computed, not stored: built again, on a real device.
                rebuilt = cast(Any, type(module))(config=self.config).to(self.device)
                self.model.set_submodule(name, rebuilt)

    @torch.no_grad()
    def enter(self, samples: Tensor) -> list[Tensor]:
        """Hidden states before the first block, batch by batch `[b, L, D]`; also notes what blocks are called with.

        Args:
            samples: `[N, L]` token ids.
        """
        base = cast(nn.Module, self.model.base_model).eval()
        hidden = []
        for batch in samples.split(max(1, TOKENS_PER_BATCH // samples.shape[1])):
            base(input_ids=batch.to(self.device), use_cache=False)
            catchers = cast("list[_Catcher]", list(self._catchers))
            self._calls[len(batch)] = [cast(Call, catcher.seen) for catcher in catchers]
            hidden.append(cast(Tensor, catchers[0].hidden))
            catchers[0].hidden = None
        return hidden

    # -- the blocks ------------------------------------------------------------------------------------------------

    def empty_block(self, index: int) -> nn.Module:
        """A block without weights, Conv1D layers replaced by linear ones."""
        with torch.device("meta"):
            block = self._types[index](self.config, layer_idx=index)
        for name in self.family.linears:
            layer = block.get_submodule(name)
            if isinstance(layer, Conv1D):
                rows, columns = layer.weight.shape
                block.set_submodule(name, nn.Linear(rows, columns, bias=True, device="meta"))
        block.to(dtype=self.dtype)
        return block.to_empty(device=self.device).eval().requires_grad_(False)

    def block(self, index: int) -> nn.Module:
        """A float block with its weights from the source, linear layers all as `[O, D]`.

        Raises:
            ModelError: the checkpoint lacks a tensor, or holds codes in its place.
        """
        block, name = self.empty_block(index), self.block_name(index)
        for key, place in block.state_dict().items():
            value = self.source.tensor(f"{name}.{key}")
            if self.config.model_type == "gpt2" and value.dim() == 2:  # Conv1D keeps its weight as [D, O]
                value = value.t()
            place.copy_(value)
        return block

    def call(self, block: nn.Module, index: int, hidden: Tensor) -> Tensor:
        """Run one block as the model would, `[b, L, D] → [b, L, D]`."""
        args, kwargs = self._calls[hidden.shape[0]][index]
        out = block(hidden, *args, **kwargs)
        return out[0] if isinstance(out, tuple) else out

    @torch.no_grad()
    def run(self, block: nn.Module, index: int, stream: Sequence[Tensor]) -> list[Tensor]:
        """Run one block over all batches of a stream."""
        return [self.call(block, index, hidden) for hidden in stream]
