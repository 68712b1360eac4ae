"""Parameters of every module of a model, each tensor counted once however often it is held."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor, nn
from torch.nn.parameter import is_lazy


@dataclass
class ParameterCount:
    """Parameters of one module; `own` and `tied` without, the others with its submodules.

    Attributes:
        own: of the module itself.
        tied: those of `own` that a module before it holds as well.
        total: of the subtree, each tensor once.
        trainable: those that take a gradient.
        bytes: their size.
        buffer_bytes: size of the buffers.
    """

    own: int = 0
    tied: int = 0
    total: int = 0
    trainable: int = 0
    bytes: int = 0
    buffer_bytes: int = 0
    held: dict[int, Tensor] = field(default_factory=dict, repr=False)


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
        count.held |= {id(buffer): buffer for buffer in module.buffers(recurse=False) if not is_lazy(buffer)}
        for tensor in count.held.values():
            _add(count, tensor)
    for path in reversed(counts):
        if path:
            _pour(counts[path], counts, path.rpartition(".")[0])
    return counts


def _pour(count: ParameterCount, counts: dict[str, ParameterCount], above: str) -> None:
    """Add the tensors of a module to those of the module around it."""
    holder = counts[above]
    for tensor_id, tensor in count.held.items():
        if tensor_id not in holder.held:
            holder.held[tensor_id] = tensor
            _add(holder, tensor)
    count.held = {}


def _add(count: ParameterCount, tensor: Tensor) -> None:
    size = tensor.numel() * tensor.element_size()
    if isinstance(tensor, nn.Parameter):
        count.total += tensor.numel()
        count.trainable += tensor.numel() if tensor.requires_grad else 0
        count.bytes += size
    else:
        count.buffer_bytes += size
