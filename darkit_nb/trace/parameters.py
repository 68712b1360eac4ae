"""Parameters of every module of a model, each tensor counted once however often it is held.

Packed weights count as what they stand for: their tensors hold several weights a byte, and are buffers of PyTorch's.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from darkit_nb.nn.packed_linear import PackedLinear, PackedSpikeLinear


@dataclass
class ParameterCount:
    """Parameters of one module; `own` and `tied` without, the others with its submodules.

    Attributes:
        own: of the module itself.
        tied: those of `own` that a module before it holds as well.
        total: of the subtree, each tensor once.
        trainable: those that take a gradient.
        bytes: their size; of packed weights that of all their tensors.
        buffer_bytes: size of the other buffers.
    """

    own: int = 0
    tied: int = 0
    total: int = 0
    trainable: int = 0
    bytes: int = 0
    buffer_bytes: int = 0
    held: dict[int, Tensor] = field(default_factory=dict, repr=False)
    packed: dict[int, int] = field(default_factory=dict, repr=False)


def count_parameters(model: nn.Module) -> dict[str, ParameterCount]:
    """By dotted name, as in `named_modules`."""
    counts: dict[str, ParameterCount] = {}
    met: set[int] = set()
    for path, module in model.named_modules():
        count = counts[path] = ParameterCount()
        for parameter in module.parameters(recurse=False):
            if is_lazy(parameter):
                continue  # without a shape it holds nothing
            count.own += parameter.numel()
            count.tied += parameter.numel() if id(parameter) in met else 0
            count.held[id(parameter)] = parameter
        met |= count.held.keys()
        buffers = {id(buffer): buffer for buffer in module.buffers(recurse=False) if not is_lazy(buffer)}
        count.held |= buffers
        if isinstance(module, PackedLinear | PackedSpikeLinear):
            count.own += _weights(module)
            count.packed = dict.fromkeys(buffers, 0) | {id(module): _weights(module)}
            count.total += count.packed[id(module)]
        for tensor in count.held.values():
            _add(count, tensor)
    for path in reversed(counts):
        if path:
            _pour(counts[path], counts, path.rpartition(".")[0])
    return counts


def _pour(count: ParameterCount, counts: dict[str, ParameterCount], above: str) -> None:
    """Add the tensors of a module to those of the module around it."""
    holder = counts[above]
    holder.total += sum(weights for key, weights in count.packed.items() if key not in holder.packed)
    holder.packed |= count.packed
    for tensor_id, tensor in count.held.items():
        if tensor_id not in holder.held:
            holder.held[tensor_id] = tensor
            _add(holder, tensor)
    count.held, count.packed = {}, {}


def _weights(module: PackedLinear | PackedSpikeLinear) -> int:
    return module.in_features * module.out_features + (0 if module.bias is None else module.bias.numel())


def _add(count: ParameterCount, tensor: Tensor) -> None:
    size = tensor.numel() * tensor.element_size()
    if isinstance(tensor, nn.Parameter):
        count.total += tensor.numel()
        count.trainable += tensor.numel() if tensor.requires_grad else 0
        count.bytes += size
    elif id(tensor) in count.packed:
        count.bytes += size
    else:
        count.buffer_bytes += size
