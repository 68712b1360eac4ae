"""Converted models for other programs: the `pack-quantized` layout of compressed-tensors, where it can express them.

Of a linear layer `name` with centred codes c = q − z (q of b bits, zero points z) and scales s,

    name.weight_packed       int32 [O, ⌈D·n/32⌉]   c + 2^(n−1) as one stream of n bits a row, low bits first
    name.weight_scale        [O, G]
    name.weight_shape        int64 [2]             O, D

    value = c · s

n is the least width that holds every c: b + 1 for weights with zero points of their own, since |c| < 2^b. The values
are the same to the last bit. With `zero_points=True` it is the narrower

    name.weight_packed       int32 [O, ⌈D·b/32⌉]   q
    name.weight_zero_point   int32 [⌈O·b/32⌉, G]   z as one stream of bits a column

    value = (q − z) · s

which is the layout of `functional.packed` in words of four bytes. transformers 5.23 with compressed-tensors 0.20 loads
that only with `CompressedTensorsConfig(dequantize=True)`: the empty module it makes has zero points that are not
packed.

The format knows one range a token and no spikes: a model whose features differ in steps, in ranges or in weight bits,
or that rotates while it runs, has no place in it.

Source: the layout as written by compressed-tensors 0.20, whose own reader gave back every weight bit for bit.
"""

from __future__ import annotations

import copy
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from darkit_nb.convert.writing import appearing, write_json, write_tensors
from darkit_nb.errors import ModelError
from darkit_nb.functional.packed import pack_codes
from darkit_nb.nn.packed_linear import PackedLinear, PackedSpikeLinear
from darkit_nb.records.spike_spec import SpikeSpec
from darkit_nb.spikify.load import load_model
from darkit_nb.spikify.quantizer import DarkitConfig


def export_compressed_tensors(folder: str | Path, out: str | Path, *, zero_points: bool = False) -> Path:
    """Write a converted model in the layout of compressed-tensors, for transformers, vLLM and others.

    Activations stay in float, or are quantised per token by the program that loads it, as the format has it.

    Args:
        folder: a model made by `convert_model`.
        out: folder to make.
        zero_points: keep codes of b bits with zero points, for programs that read them; weights of 8 bits with zero
            points are always written so. Else codes have a sign, which takes a bit more and loads everywhere.

    Returns:
        `out`.

    Raises:
        ModelError: the model holds what the format cannot express, `out` is taken, or the disk is full.
    """
    source, target = Path(folder), Path(out)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ModelError(
            f"There is something at {target} already.",
            expected="a new folder",
            received="files" if target.is_dir() else "a file",
            fix="name another",
        )
    model = load_model(source)
    layers = _checked(model)
    tensors = {name: value for name, value in model.state_dict().items() if name.rpartition(".")[0] not in layers}
    bits = None if zero_points else signed_bits(list(layers.values()))
    for name, layer in layers.items():
        tensors |= {f"{name}.{key}": value for key, value in packed_words(layer, bits).items()}
    if getattr(model.config, "tie_word_embeddings", False):
        tensors.pop("lm_head.weight", None)
    with appearing(target) as partial:
        write_tensors(partial / "model.safetensors", tensors)
        _write_config(model, layers, bits, partial)
        for file in sorted(source.iterdir()):
            if file.suffix in (".json", ".txt", ".model", ".jinja") and not (partial / file.name).exists():
                shutil.copyfile(file, partial / file.name)
        (partial / "conversion.json").unlink(missing_ok=True)
    return target


def signed_bits(layers: Sequence[PackedLinear | PackedSpikeLinear]) -> int | None:
    """The least bits that hold the centred codes of all layers with their sign; None where 8 do not."""
    ends = [layer.codes().parts[0][1].codes.aminmax() for layer in layers]
    low, high = min(int(end.min) for end in ends), max(int(end.max) for end in ends)
    return next((bits for bits in range(2, 9) if -(1 << bits - 1) <= low and high < 1 << bits - 1), None)


def packed_words(layer: PackedLinear | PackedSpikeLinear, bits: int | None = None) -> dict[str, Tensor]:
    """The tensors of one layer in the layout above.

    Args:
        layer: what is written.
        bits: of codes with a sign; None writes unsigned ones and zero points.
    """
    part, code = layer.parts[0], layer.codes().parts[0][1]
    if part.group_size is not None and layer.in_features % part.group_size:
        raise _cannot("groups that do not fill the features evenly", f"{layer.in_features} / {part.group_size}")
    unsigned, width = (code.unsigned(), part.bits) if bits is None else (code.codes + (1 << bits - 1), bits)
    rows = {
        "weight_packed": _words(unsigned, width),
        "weight_scale": code.scale,
        "weight_shape": torch.tensor([layer.out_features, layer.in_features]),
    }
    if bits is None:
        rows["weight_zero_point"] = _words(cast(Tensor, code.zero).T, part.bits).T.contiguous()
    return rows | ({} if layer.bias is None else {"bias": layer.bias})


def _words(codes: Tensor, bits: int) -> Tensor:
    """Unsigned codes `[R, C]` as words of 32 bits `[R, ⌈C·bits/32⌉]`."""
    packed = pack_codes(codes, bits)
    words = math.ceil(codes.shape[1] * bits / 32)
    filled = torch.nn.functional.pad(packed, (0, 4 * words - packed.shape[1]))
    return filled.contiguous().view(torch.int32)


def _cannot(what: str, received: str) -> ModelError:
    return ModelError(
        "This model cannot be written as compressed-tensors.",
        expected="one bit width and scale layout for all weights, and one range a token for activations",
        received=f"{what}: {received}",
        cause="the format has no place for it",
        fix="load it with darkit_nb.load_model, or convert with a preset such as rtn, smoothquant or gptq",
    )


def _checked(model: PreTrainedModel) -> dict[str, PackedLinear | PackedSpikeLinear]:
    """The packed layers by name, all of one kind that the format knows."""
    config = getattr(model.config, "quantization_config", None)
    parts = config.parts if isinstance(config, DarkitConfig) else None
    if parts is None:
        raise _cannot("not a converted model", type(model).__name__)
    layers = {
        name: module for name, module in model.named_modules() if isinstance(module, PackedLinear | PackedSpikeLinear)
    }
    if parts["rms_norms"] or parts["head_bias"]:
        raise _cannot("LayerNorms that became RMSNorms", model.config.model_type)
    if model.config.model_type == "gpt2":
        raise _cannot("layers that transformers keeps as Conv1D", "gpt2")
    first = next(iter(layers.values()))
    for name, layer in layers.items():
        shape = layer.parts[0]
        if len(layer.parts) > 1 or shape.columns is not None or shape.spacing != 1 or shape.bits < 2:
            raise _cannot("columns of different bits or scales, or binary weights", name)
        if layer.rotation is not None:
            raise _cannot("a rotation while the model runs", name)
        if (shape.bits, shape.group_size) != (first.parts[0].bits, first.parts[0].group_size):
            raise _cannot("layers of different bits", name)
        if isinstance(layer, PackedSpikeLinear):
            _check_spikes(layer.spec, name)
    return layers


def _check_spikes(spec: SpikeSpec, name: str) -> None:
    apart = spec.salient_fraction > 0 and (spec.num_steps > 1 or spec.ranges == "own")
    if apart or spec.signed or spec.attention or spec.num_levels & (spec.num_levels - 1):
        raise _cannot("activations with steps, ranges, signs or levels of their own", name)


def _write_config(
    model: PreTrainedModel, layers: dict[str, PackedLinear | PackedSpikeLinear], bits: int | None, folder: Path
) -> None:
    first = next(iter(layers.values()))
    shape = first.parts[0]
    weights: dict[str, Any] = {
        "num_bits": bits or shape.bits, "type": "int", "symmetric": bits is not None, "dynamic": False,
        "strategy": "channel" if shape.group_size is None else "group", "group_size": shape.group_size,
    }  # fmt: skip
    activations = None
    if isinstance(first, PackedSpikeLinear):
        activations = {
            "num_bits": int(math.log2(first.spec.num_levels)), "type": "int", "symmetric": False, "dynamic": True,
            "strategy": "token",
        }  # fmt: skip
    floats = [name for name, module in model.named_modules() if type(module) is nn.Linear]
    layout = "pack-quantized"
    group = {"targets": ["Linear"], "weights": weights, "input_activations": activations, "format": layout}
    config = copy.deepcopy(model.config)
    config.quantization_config = {
        "quant_method": "compressed-tensors",
        "format": layout,
        "quantization_status": "compressed",
        "ignore": floats,
        "config_groups": {"group_0": group},
    }
    write_json(folder / "config.json", {**config.to_dict(), "architectures": [type(model).__name__]})
