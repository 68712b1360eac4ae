"""A converted decoder before its weights are loaded: packed layers, rotations and norms put where its config says.

quantization_config.conversion = {
    "spec":      ConversionSpec.to_dict()
    "layers":    full name → layout of its packed layer, or {"kind": "float", "bias": …} where it stays in float
    "rms_norms": full names of LayerNorms that became RMSNorms (their centring is in the weights)
    "head_bias": the head has a bias that came from the final norm
    "key_rotation": queries and keys are rotated behind the rotary embedding
}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedModel

from darkit_nb.errors import ModelError
from darkit_nb.nn.kronecker import KroneckerTransform
from darkit_nb.nn.packed_linear import PackedLinear, PackedSpikeLinear
from darkit_nb.nn.rotation import OnlineRotation, RangeCut
from darkit_nb.nn.shared_input import SharedInput
from darkit_nb.records.spike_spec import SpikeSpec
from darkit_nb.spikify.attention import KEYS, add_spiking_attention, attention_modules
from darkit_nb.spikify.face import give_face


def layer_layout(layer: nn.Module, spike: SpikeSpec | None) -> dict[str, Any]:
    """What has to be known to build a layer of a converted block before its tensors are loaded, as plain data."""
    if not isinstance(layer, PackedLinear | PackedSpikeLinear):
        return {"kind": "float", "bias": getattr(layer, "bias", None) is not None}
    layout: dict[str, Any] = {"kind": "packed", **layer.describe()}
    if layer.rotation is not None:
        layout["rotation"] = _transform_layout(layer.rotation)
    if isinstance(layer, PackedSpikeLinear) and layer.spec != spike:
        usual = {} if spike is None else spike.to_dict()
        layout["spike"] = {name: value for name, value in layer.spec.to_dict().items() if usual.get(name) != value}
    return layout


def _transform_layout(transform: nn.Module) -> dict[str, Any]:
    if isinstance(transform, OnlineRotation):
        layout: dict[str, Any] = {"kind": "hadamard", "blocks": list(transform.blocks)}
        # A kind of its own: versions that know of no cut refuse it.
        return layout if transform.keep == 1.0 else {**layout, "kind": "cut hadamard", "keep": transform.keep}
    if isinstance(transform, RangeCut):
        return {"kind": "cut", "features": transform.features, "begin": transform.begin, "keep": transform.keep}
    if isinstance(transform, KroneckerTransform):
        return {"kind": "kronecker", "factors": [transform.left.shape[0], transform.right.shape[0]]}
    raise ModelError(
        f"A {type(transform).__name__} before a layer cannot be saved.",
        expected="OnlineRotation, RangeCut or KroneckerTransform",
        received=type(transform).__name__,
    )


def _transform(layout: Mapping[str, Any] | None) -> nn.Module | None:
    if layout is None:
        return None
    if layout["kind"] in ("hadamard", "cut hadamard"):
        return OnlineRotation(layout["blocks"], keep=layout.get("keep", 1.0))
    if layout["kind"] == "cut":
        return RangeCut(layout["features"], layout["begin"], keep=layout["keep"])
    if layout["kind"] == "kronecker":
        return KroneckerTransform(*layout["factors"])
    raise ModelError(
        "A layer of this checkpoint is transformed in a way this version does not know.",
        expected="hadamard, cut or kronecker",
        received=repr(layout["kind"]),
        fix="pip install --upgrade darkit-nb",
    )


def empty_layer(original: nn.Module, layout: Mapping[str, Any], spike: SpikeSpec | None, name: str) -> nn.Module:
    """The layer a layout describes, on the device of the one it replaces, its tensors still to be loaded."""
    weight = cast(torch.Tensor, original.weight)
    device = weight.device
    if layout["kind"] == "float":
        rows, columns = weight.shape
        features = (columns, rows) if isinstance(original, nn.Linear) else (rows, columns)
        return nn.Linear(*features, bias=layout["bias"], device=device, dtype=weight.dtype)
    if changes := layout.get("spike"):
        spike = SpikeSpec.from_dict({**(spike or SpikeSpec()).to_dict(), **changes})
    with torch.device(device):
        transform = _transform(layout.get("rotation"))
    if spike is None:
        return PackedLinear.empty(layout, rotation=transform, device=device)
    layer = PackedSpikeLinear.empty(layout, spike, rotation=transform, device=device)
    object.__setattr__(layer, "spike_name", name)
    return layer


def fill_block(
    root: nn.Module, prefix: str, layers: Mapping[str, Any], spike: SpikeSpec | None, rms_norms: Sequence[str]
) -> None:
    """Put the layers and norms of converted blocks into `root`, in place.

    Args:
        root: a model, or one block.
        prefix: what the names of layers and norms begin with that those in `root` do not; empty for a model.
        layers: layout by full name.
        spike: of the layers whose layout names no other.
        rms_norms: full names.
    """
    for full, layout in layers.items():
        name = full.removeprefix(prefix)
        root.set_submodule(name, empty_layer(root.get_submodule(name), layout, spike, full))
    for full in rms_norms:
        name = full.removeprefix(prefix)
        norm = root.get_submodule(name)
        if isinstance(norm, nn.LayerNorm):
            weight = norm.weight
            made = nn.RMSNorm(list(norm.normalized_shape), eps=norm.eps, device=weight.device, dtype=weight.dtype)
            root.set_submodule(name, made)


def make_converted(model: PreTrainedModel, conversion: Mapping[str, Any], spike: SpikeSpec | None) -> None:
    """Turn the float skeleton of a converted model into what its weights belong to, in place."""
    fill_block(model, "", conversion["layers"], spike, conversion["rms_norms"])
    share_inputs(model)
    if conversion["head_bias"]:
        head = cast(nn.Linear, model.get_output_embeddings())
        made = nn.Linear(
            head.in_features, head.out_features, bias=True, device=head.weight.device, dtype=head.weight.dtype
        )
        model.set_output_embeddings(made)
    if spike is not None and spike.attention:
        add_spiking_attention(model, spike)
        if conversion["key_rotation"]:
            rotate_keys(attention_modules(model).values())
    give_face(model)


SAME_INPUT = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
"""Layers of one module that read the same tensor. Where a model's own do not, each sees its input by itself."""


def share_inputs(model: nn.Module) -> None:
    """Let packed layers that read the same input encode it once."""
    for module in model.modules():
        for names in SAME_INPUT:
            layers = [getattr(module, name, None) for name in names]
            if all(isinstance(layer, PackedSpikeLinear) for layer in layers):
                shared = SharedInput(cast(list[PackedSpikeLinear], layers))
                for layer in cast(list[PackedSpikeLinear], layers):
                    layer.shared_input = shared


def rotate_keys(attentions: Any) -> None:
    """Let the key neuron of every attention code rotated keys; its signs are loaded, or given later."""
    for attention in attentions:
        neuron = getattr(attention, KEYS)
        neuron.rotation = OnlineRotation([neuron.features[-1]], device=neuron.salient.device)
