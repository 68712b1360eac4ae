"""The buffers of a packed weight: codes as they are stored, their scales, zero points and the places of columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from darkit_nb.errors import ShapeError
from darkit_nb.functional.packed import pack_codes, packed_bytes, unpack_codes
from darkit_nb.functional.weight import QuantisedWeight, WeightCode


@dataclass(frozen=True)
class PackedPart:
    """Shape of one part of a packed weight: all there is to know before its tensors are loaded.

    Attributes:
        columns: how many features it holds, named one by one; None is all features as they lie.
        bits: 1 … 8, of a stored code.
        group_size: features that share a scale; None is one scale an output.
        spacing: distance between neighbouring codes (`functional.weight.WeightCode`).
    """

    columns: int | None
    bits: int
    group_size: int | None = None
    spacing: int = 1


@cache
def _names(index: int) -> tuple[str, ...]:
    """Of the tensors of a part."""
    return tuple(f"{name}_{index}" for name in ("packed", "scale", "zero", "columns"))


class PackedWeight(nn.Module):
    """Buffers of a packed weight: `packed_i`, `scale_i`, `zero_i` of part i; `columns_i` where columns are named."""

    parts: tuple[PackedPart, ...]
    in_features: int
    out_features: int
    bias: Tensor | None
    rotation: nn.Module | None

    def _add_buffers(self, parts: Sequence[PackedPart], bias: bool, rotation: nn.Module | None, device: Any) -> None:
        self.parts = tuple(parts)
        outputs = self.out_features

        def add(name: str, *shape: int, dtype: torch.dtype) -> None:
            self.register_buffer(name, torch.zeros(shape, dtype=dtype, device=device))

        for index, part in enumerate(self.parts):
            width = self.in_features if part.columns is None else part.columns
            groups = -(-width // part.group_size) if part.group_size else 1
            add(f"packed_{index}", outputs, packed_bytes(width, part.bits), dtype=torch.uint8)
            add(f"scale_{index}", outputs, groups, dtype=torch.float32)
            add(f"zero_{index}", outputs, groups, dtype=torch.uint8)
            if part.columns is not None:
                add(f"columns_{index}", part.columns, dtype=torch.int32)
        # float32 by name: a model that is built in half precision would make it in that.
        self.register_buffer("bias", torch.zeros(outputs, dtype=torch.float32, device=device) if bias else None)
        self.rotation = rotation

    @torch.no_grad()
    def _fill(self, weight: QuantisedWeight, bias: Tensor | None) -> None:
        for index, (columns, code) in enumerate(weight.parts):
            values = {"packed": pack_codes(code.unsigned(), code.bits), "scale": code.scale, "zero": _bytes(code)}
            if columns is not None:
                values["columns"] = columns
            for name, value in values.items():
                getattr(self, f"{name}_{index}").copy_(value)
        if self.bias is not None and bias is not None:
            self.bias.copy_(bias)

    def _held(self) -> list[Tensor]:
        """Every tensor products are made from."""
        return [part for part in self._buffers.values() if part is not None]

    def _part_tensors(self, index: int) -> list[Tensor]:
        return [self._buffers[name] for name in _names(index) if name in self._buffers]  # pyright: ignore[reportReturnType]

    def codes(self, outputs: slice = slice(None)) -> QuantisedWeight:
        """The weight of these outputs as integer codes, unpacked."""
        parts = tuple(self._code(index, outputs) for index in range(len(self.parts)))
        return QuantisedWeight(parts, (parts[0][1].codes.shape[0], self.in_features))

    def _code(self, index: int, outputs: slice) -> tuple[Tensor | None, WeightCode]:
        part = self.parts[index]
        packed, scale, zero, *columns = self._part_tensors(index)
        packed, scale, zero = packed[outputs], scale[outputs], zero[outputs]
        width = self.in_features if part.columns is None else part.columns
        unsigned = unpack_codes(packed, part.bits, width).to(torch.int16)
        empty = WeightCode(unsigned, scale, part.bits, part.group_size, zero.to(torch.int16), part.spacing)
        centred = unsigned * part.spacing - empty.spread(zero.to(torch.int16))
        code = WeightCode(centred, scale, part.bits, part.group_size, zero.to(torch.int16), part.spacing)
        return (columns[0].to(torch.int64) if columns else None), code

    @property
    def weight(self) -> Tensor:
        """The values of the weight, `[O, D]`, computed now."""
        return self.codes().dequantise()

    @property
    def storage_bits(self) -> float:
        """Bits a weight takes as saved: all tensors but the bias, so codes, scales, zero points, places and masks of
        features, and what turns the input."""
        held = sum(part.nbytes for name, part in self.state_dict().items() if name != "bias")
        return 8 * held / (self.out_features * self.in_features)

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        """Scales and bias move with the model and stay float32: half precision would move every weight."""
        kept = {name: part for name, part in self._buffers.items() if name.startswith(("scale_", "bias"))}
        super()._apply(fn, recurse)
        for name, before in kept.items():
            after = self._buffers[name]
            if before is not None and after is not None and after.dtype != before.dtype:
                self._buffers[name] = before.to(after.device)
        return self

    def describe(self) -> dict[str, Any]:
        """What `empty` of the class makes the same layer from, without its tensors, as plain data."""
        return {
            "in_features": self.in_features,
            "out_features": self.out_features,
            "parts": [asdict(part) for part in self.parts],
            "bias": self.bias is not None,
        }

    def _weight_repr(self) -> str:
        kinds = [f"{'all' if part.columns is None else part.columns} in {part.bits} bits" for part in self.parts]
        groups = {part.group_size for part in self.parts} - {None}
        grouped = f", groups of {', '.join(map(str, sorted(groups)))}" if groups else ""  # pyright: ignore[reportArgumentType]
        shape = f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"
        return f"{shape}, weights {' + '.join(kinds)}{grouped}"


def _bytes(code: WeightCode) -> Tensor:
    zero = code.zero
    if zero is None or (not zero.is_meta and zero.numel() and (int(zero.min()) < 0 or int(zero.max()) > 255)):
        raise ShapeError(
            "These weights cannot be packed.",
            expected="a zero point of 0 … 255 for every group",
            received="none" if zero is None else f"{int(zero.min())} … {int(zero.max())}",
        )
    return zero.to(torch.uint8)


def packed_parts(weight: QuantisedWeight) -> tuple[PackedPart, ...]:
    """The shapes of the parts of a weight."""
    return tuple(
        PackedPart(None if columns is None else columns.numel(), code.bits, code.group_size, code.spacing)
        for columns, code in weight.parts
    )
