"""Host side of `kernels/cpu/product.cpp`: the weights in its order of bytes, and the calls.

A plan is a row of 64-bit words, numbers and addresses of tensors, that the library reads as its `Plan` and `Segment`s.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from darkit_nb.functional.spike_code import SpikeCode
from darkit_nb.ops._native import TYPES, Record, empty, scratch, tokens_of
from darkit_nb.ops.weight_layout import Segment, WeightLayout

UNIT, BLOCK = 64, 16
"""Features and outputs that lie together, as in `kernels/cpu/product.h`."""
FASTEST = 2
"""Which ways of multiplying the library may take: 0 plain, 1 with VNNI, 2 with tiles."""
FEW_ROWS = 8
"""Up to so many float tokens codes are met as they are stored; for more it pays to compute their values first."""
VALUES = 2**20
"""Weights whose values exist at a time, where tiles do not multiply them."""
MOST_CODE = 256
"""Codes up to here are bfloat16 numbers."""
_HEADER, _SEGMENT = 17, 11
"""Words of a plan and of a segment."""
_spike_linear = Record("dk_spike_linear", "PPqqPPPqPqPqqPq")
_weight_only = Record("dk_weight_only", "PPqqqPqP")
_float_product = Record("dk_float_product", "PPqqqPqPq")
_weight_values = Record("dk_weight_values", "PqqP")


class NativeProducts:
    """Products with one weight by the library; see `ops.spike_product.Products`.

    Args:
        layout: the weight; only bytes in the library's order are kept of it.
    """

    def __init__(self, layout: WeightLayout) -> None:
        self.features, self.outputs = layout.features, layout.outputs
        self._words, self._kept = _plan(layout)
        self._place = self._words.data_ptr()
        self._operand = _operand(layout, self._words)
        self._room_bytes: dict[int, int] = {}

    @property
    def nbytes(self) -> int:
        """Memory of the codes and what belongs to them."""
        return sum(tensor.nbytes for tensor in self._kept)

    def product(self, code: SpikeCode) -> Tensor:
        """Outputs of spikes, `[*B, L, O]` float32."""
        counts = code.counts.reshape(-1, self.features).contiguous()
        groups = [value.reshape(counts.shape[0], -1).contiguous() for value in (code.scale, code.zero_point)]
        source = (0, 0, 0, counts.data_ptr(), *(group.data_ptr() for group in groups))
        y = empty((*code.counts.shape[:-1], self.outputs), torch.float32)
        self._run(source, counts.shape[0], y)
        return y

    def linear(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """Outputs of tokens `[*B, D]`, `[*B, O]` in `dtype`."""
        return self.linear_with((), x, dtype)[0]

    def reads_as(self, other: NativeProducts) -> bool:
        """Whether both make the same counts of a token and lay them out alike."""
        (mine, places), (its, its_places) = self._operand, other._operand
        return mine == its and all(
            a is b or (a is not None and b is not None and torch.equal(a, b))
            for a, b in zip(places, its_places, strict=True)
        )

    def linear_with(self, siblings: Sequence[NativeProducts], x: Tensor, dtype: torch.dtype) -> list[Tensor]:
        """Outputs of the same tokens by this weight and others that it `reads_as`, in one call: one encoding."""
        lead = x.shape[:-1]
        x, stride, rows = tokens_of(x)
        y = empty((*lead, self.outputs), dtype)
        ys, words = [y], array("q")
        for other in siblings:
            ys.append(empty((*lead, other.outputs), dtype))
            words.extend((other._place, ys[-1].data_ptr()))
        self._run((x.data_ptr(), TYPES[x.dtype], stride, 0, 0, 0), rows, y, words)
        return ys

    def _run(self, source: tuple[int, ...], rows: int, y: Tensor, siblings: array[int] | tuple[()] = ()) -> None:
        size = self._room_bytes.get(rows)
        if size is None:
            size = _spike_linear(self._place, *source, rows, y.data_ptr(), 0, 0, 0, FASTEST, 0, 0)
            self._room_bytes[rows] = size
        room = scratch(size * torch.get_num_threads())
        further = (siblings.buffer_info()[0], len(siblings) // 2) if siblings else (0, 0)
        _spike_linear(self._place, *source, rows, y.data_ptr(), TYPES[y.dtype], room, size, FASTEST, *further)


class NativeFloats:
    """Products of float tokens with packed weights by the library.

    Args:
        layout: the weight, without salient features; only bytes in the library's order are kept of it.
    """

    def __init__(self, layout: WeightLayout) -> None:
        self.features, self.outputs = layout.features, layout.outputs
        self._words, self._kept = _plan(layout)
        self._place = self._words.data_ptr()
        places, segments = int(self._words[2]) * UNIT, int(self._words[3])
        self._row, self._tail = 4 * (places + segments), 4 * layout.features
        self._bias, self._tiles = layout.bias, layout.bound <= MOST_CODE

    @property
    def nbytes(self) -> int:
        """Memory of the codes and what belongs to them."""
        return sum(tensor.nbytes for tensor in self._kept)

    def linear(self, x: Tensor) -> Tensor:
        """`x · Wᵀ + b` of tokens `[*B, D]`, `[*B, O]` in the dtype of `x`."""
        lead = x.shape[:-1]
        x, stride, rows = tokens_of(x)
        y = empty((*lead, self.outputs), x.dtype)
        kind = TYPES[x.dtype]
        call = (self._place, x.data_ptr(), kind, stride, rows, y.data_ptr(), kind)
        if rows <= FEW_ROWS:
            _weight_only(*call, scratch(rows * self._row + self._tail))
        elif not (self._tiles and FASTEST == 2 and self._by_tiles(call)):
            self._by_values(x.reshape(rows, self.features), y.view(rows, self.outputs))
        return y

    def _by_tiles(self, call: tuple[int, ...]) -> bool:
        """Codes become floats where they are multiplied; whether this processor has tiles for that."""
        size = _float_product(*call, 0, 0)
        if size:
            _float_product(*call, scratch(size * torch.get_num_threads()), size)
        return size > 0

    def _by_values(self, x: Tensor, y: Tensor) -> None:
        """Values of a few outputs at a time, multiplied by PyTorch."""
        blocks = max(1, VALUES // (self.features * BLOCK))
        for block in range(0, -(-self.outputs // BLOCK), blocks):
            chosen = slice(block * BLOCK, min((block + blocks) * BLOCK, self.outputs))
            values = empty((chosen.stop - chosen.start, self.features), torch.float32)
            _weight_values(self._place, block, -(-values.shape[0] // BLOCK), values.data_ptr())
            torch.mm(x, values.to(x.dtype).t(), out=y[:, chosen])
        if self._bias is not None:
            y.add_(self._bias)


def fits(layout: WeightLayout) -> bool:
    """Whether the library multiplies these codes exactly: counts in bytes, sums in 32 bits."""
    counts_fit = layout.cap <= (127 if layout.law.signed else 255)
    return counts_fit and layout.cap * layout.bound * layout.features < 2**31 and layout.bound <= 255


def _plan(layout: WeightLayout) -> tuple[Tensor, list[Tensor]]:
    """The weight as the library reads it, and the tensors whose addresses stand there."""
    kept: list[Tensor] = []

    def address(tensor: Tensor | None) -> int:
        if tensor is None:
            return 0
        kept.append(tensor.contiguous())
        return kept[-1].data_ptr()

    words, order, unit, plain = [], [], 0, 0
    for segment in layout.segments:
        wide = -(-segment.codes.shape[1] // UNIT)
        stored, bits, zero = _stored(segment)
        blocks = _blocks(stored, bits, wide)
        words += [unit, unit + wide, segment.scale, int(segment.ends_group), bits, address(blocks), blocks.shape[1]]
        padded = (zero, segment.low, segment.high, segment.weight_scale)
        words += [address(None if part is None else _to_blocks(part)) for part in padded]
        if segment.features is None:
            plain = wide
        else:
            order.append(_order(segment.features, layout.features, wide))
        unit += wide
    law = layout.law
    salient = None if layout.salient is None else layout.salient.to(torch.int32)
    bias = None if layout.bias is None else _to_blocks(layout.bias)
    header = [layout.features, layout.outputs, unit, len(layout.segments), 0]
    header += [address(part) for part in (torch.cat(order) if order else None, layout.factor, bias, salient)]
    header += [
        int(law.signed),
        law.cap_lo,
        law.cap_hi,
        law.ratio or 0,
        int(law.ranges == "own" and salient is not None),
    ]
    runs = torch.cat([_runs(part, layout.features) for part in order]) if order else None
    header += [int(layout.ratio is not None), plain, address(runs)]
    table = torch.tensor([*header, *[0] * (_HEADER - len(header)), *words], dtype=torch.int64)
    table[4] = table.data_ptr() + 8 * _HEADER
    return table, kept


def _operand(layout: WeightLayout, table: Tensor) -> tuple[list[int], list[Tensor | None]]:
    """What the bytes of a token depend on, of a plan: numbers, and which features lie where and are salient."""
    words = table.tolist()
    segments = (words[at : at + _SEGMENT] for at in range(_HEADER, len(words), _SEGMENT))
    parts = [part for begin, end, _, _, bits, _, _, zero, *_ in segments for part in (begin, end, bits == 8, zero != 0)]
    numbers = [words[0], words[2], *words[9:16], *parts]
    return numbers, [layout.salient, *(segment.features for segment in layout.segments)]


def _to_blocks(part: Tensor) -> Tensor:
    return pad(part, (0, -part.shape[0] % BLOCK))


def _order(chosen: Tensor, features: int, wide: int) -> Tensor:
    return pad(chosen.to(torch.int32), (0, wide * UNIT - chosen.numel()), value=features)


def _runs(order: Tensor, features: int) -> Tensor:
    """How many neighbours each unit of `order` holds, or 0 where there are others or none."""
    places = order.view(-1, UNIT)
    count = (places < features).sum(-1)
    behind = torch.arange(UNIT, device=order.device)
    expected = torch.where(behind < count[:, None], places[:, :1] + behind, features)
    return torch.where((places == expected).all(-1), count, 0).to(torch.int32)


def _stored(segment: Segment) -> tuple[Tensor, int, Tensor | None]:
    """Codes as bytes, how many of their bits count, and what to take off each output's, or None: nothing."""
    if not segment.codes.numel():
        return segment.codes.to(torch.uint8), 8, None
    low = segment.codes.amin(-1, keepdim=True)
    unsigned = segment.codes.to(torch.int16) - low
    # Unpacked they are signed bytes, so codes beyond those stay as they are, however few there are.
    few = (1, 2, 4) if segment.largest <= 127 else ()
    bits = next((bits for bits in few if int(unsigned.amax()) < 2**bits), 8)
    zero = -(low.squeeze(-1).to(torch.int32))
    if bits < 8:
        return unsigned.to(torch.uint8), bits, zero
    if segment.largest <= 127:
        return segment.codes.view(torch.uint8), 8, None
    return (unsigned - 128).to(torch.int8).view(torch.uint8), 8, zero - 128


def _blocks(stored: Tensor, bits: int, wide: int) -> Tensor:
    """Bytes `[O, M]` in units of 16 outputs and 64 features, lines of four features, as `[O / 16, bytes]`."""
    outputs, features = stored.shape
    each = 8 // bits
    units = -(-wide // each) * each
    filled = pad(stored, (0, units * UNIT - features, 0, -outputs % BLOCK))
    lines = filled.view(-1, BLOCK, units, UNIT // 4, 4).permute(0, 2, 3, 1, 4)
    together = lines.reshape(lines.shape[0], units // each, each, UNIT * BLOCK)
    packed = together[:, :, 0].clone()
    for place in range(1, each):
        packed |= together[:, :, place] << bits * place
    return packed.flatten(1)
