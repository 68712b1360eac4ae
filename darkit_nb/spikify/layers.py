"""Replace linear layers by spiking ones and put them back: the mechanics under `spikify`."""

from __future__ import annotations

from fnmatch import fnmatchcase

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from darkit_nb.errors import ModelError
from darkit_nb.nn.gif import GIF
from darkit_nb.nn.linear import SpikeLinear
from darkit_nb.records.spike_spec import SpikeSpec
from darkit_nb.spikify.attention import add_spiking_attention, remove_spiking_attention
from darkit_nb.spikify.face import give_face, take_face

_LINEAR_TYPES = (nn.Linear, Conv1D)


def spiking_modules(model: nn.Module) -> dict[str, GIF]:
    """Every spiking module of `model` by dotted name, in order of definition."""
    return {name: module for name, module in model.named_modules() if isinstance(module, GIF)}


def make_spiking(model: nn.Module, spec: SpikeSpec) -> None:
    """Swap in spiking layers and attention, in place.

    Raises:
        ModelError: already spiking, no layer matches the patterns, or attention that cannot be routed.
    """
    if spiking_modules(model):
        raise ModelError(
            "This model is spiking already.",
            expected="a model with float layers",
            received=f"{type(model).__name__} with {len(spiking_modules(model))} spiking modules",
            fix="call unspikify(model) first, then spikify it with the new settings",
        )
    if spec.attention and not isinstance(model, PreTrainedModel):
        raise ModelError(
            "Only decoders of transformers can have spiking attention products.",
            expected="a PreTrainedModel with attention=True",
            received=type(model).__name__,
            fix="use attention=False",
        )
    chosen = matching_layers(model, spec)
    if isinstance(model, PreTrainedModel) and spec.attention:
        add_spiking_attention(model, spec)
    replaced: dict[int, SpikeLinear] = {}
    for name, layer in chosen.items():
        if id(layer) not in replaced:
            replaced[id(layer)] = SpikeLinear(layer, spec)
            replaced[id(layer)].spike_name = name
        model.set_submodule(name, replaced[id(layer)])
    give_face(model)


def make_float(model: nn.Module) -> None:
    """Undo `make_spiking`, in place; the parameters stay as they are now."""
    take_face(model)
    if isinstance(model, PreTrainedModel):
        remove_spiking_attention(model)
    restored: dict[int, nn.Module] = {}
    for name, module in list(model.named_modules(remove_duplicate=False)):
        if isinstance(module, SpikeLinear):
            if id(module) not in restored:
                restored[id(module)] = module.restore()
            model.set_submodule(name, restored[id(module)])


def matching_layers(model: nn.Module, spec: SpikeSpec) -> dict[str, nn.Module]:
    """The linear layers a spec selects, by dotted name.

    Raises:
        ModelError: none is selected.
    """
    head = model.get_output_embeddings() if isinstance(model, PreTrainedModel) else None
    linears = {
        name: module
        for name, module in model.named_modules(remove_duplicate=False)
        # Exact types: a subclass has a forward of its own that must not be lost.
        if type(module) in _LINEAR_TYPES and name
    }
    chosen = {
        name: module
        for name, module in linears.items()
        if any(fnmatchcase(name, pattern) for pattern in spec.include)
        and not any(fnmatchcase(name, pattern) for pattern in spec.exclude)
        and not (module is head and "lm_head" in spec.exclude)
    }
    if not chosen:
        examples = ", ".join(list(linears)[:6]) or "none"
        raise ModelError(
            "No linear layer matches, so nothing would spike.",
            expected=f"patterns that match some of this model's linear layers: {examples}, …",
            received=f"include={list(spec.include)}, exclude={list(spec.exclude)}",
            fix="patterns are shell style on dotted names, as in include=('*.mlp.*',)",
        )
    return chosen
