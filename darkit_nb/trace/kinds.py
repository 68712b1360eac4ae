"""What sort of thing a module is, for colours, filters and the eye."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.dropout import _DropoutNd
from transformers.pytorch_utils import Conv1D

from darkit_nb.nn.gif import GIF
from darkit_nb.nn.linear import SpikingLinear
from darkit_nb.nn.neuron import TemporalNeuron
from darkit_nb.nn.packed_linear import PackedLinear
from darkit_nb.records.trace_node import NodeKind

_CLASSES: tuple[tuple[NodeKind, tuple[type, ...]], ...] = (
    ("spiking", (SpikingLinear,)),
    ("neuron", (GIF, TemporalNeuron)),
    ("container", (nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict)),
    ("linear", (nn.Linear, nn.Bilinear, Conv1D, PackedLinear)),
    ("convolution", (_ConvNd,)),
    ("recurrent", (nn.RNNBase, nn.RNNCellBase)),
    ("norm", (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.LocalResponseNorm)),
    ("embedding", (nn.Embedding, nn.EmbeddingBag)),
    ("dropout", (_DropoutNd,)),
)
_NAMES: tuple[tuple[NodeKind, tuple[str, ...]], ...] = (
    ("norm", ("Norm",)),
    ("attention", ("Attention",)),
    ("embedding", ("Embedding", "Embeddings")),
    ("activation", ("Activation",)),
)
_NEURON_LIBRARIES = ("spikingjelly.", "snntorch", "norse.torch")
_STATE_OF_NEURONS = ("BaseNode", "SpikingNeuron", "SNNCell", "SNN")
"""Base classes of neurons in those libraries."""


def kind_of(module: nn.Module) -> NodeKind:
    """The sort of a module: by its class, else by its name, else by whether it holds others."""
    for kind, classes in _CLASSES:
        if isinstance(module, classes):
            return kind
    own = type(module)
    if any(base.__module__.startswith(_NEURON_LIBRARIES) and base.__name__ in _STATE_OF_NEURONS for base in own.mro()):
        return "neuron"
    for kind, endings in _NAMES:
        if own.__name__.endswith(endings):
            return kind
    if own.__module__ in ("torch.nn.modules.activation", "transformers.activations"):
        return "activation"
    return "block" if module._modules else "other"


def is_container(module: nn.Module) -> bool:
    """Whether it only holds modules, and has no forward that could be called."""
    held = isinstance(module, nn.ModuleList | nn.ModuleDict)
    return held and type(module).forward is nn.Module.forward and "forward" not in vars(module)


def class_name_of(module: nn.Module) -> str:
    """Name of its class; of a scripted module, the one it was made from."""
    return module.original_name if isinstance(module, torch.jit.ScriptModule) else type(module).__name__
