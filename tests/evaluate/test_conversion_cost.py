"""What converted models cost: work beside the spikes is counted for every preset."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from darkit_nb.config.conversions import PRESETS, preset
from darkit_nb.convert import convert_model
from darkit_nb.evaluate.conversion_cost import conversion_cost
from darkit_nb.evaluate.facts import rotation_work
from darkit_nb.nn.kronecker import KroneckerTransform
from darkit_nb.nn.packed_linear import PackedSpikeLinear
from darkit_nb.nn.rotation import OnlineRotation
from darkit_nb.spikify import load_model
from darkit_nb.views.energy_table import energy_table
from tests.convert.decoders import decoder

KV_HEADS, HEADS = 2, 4
SHARING = tuple(f"model.layers.0.{name}." for name in ("self_attn.k_proj", "self_attn.v_proj", "mlp.up_proj"))
"""Layers that take the mixed and coded input of another one."""


@pytest.mark.parametrize("name", PRESETS)
def test_rotations_transforms_and_the_way_back_from_codes_are_counted(name: str, tmp_path: Path):
    model = decoder("llama", dtype=torch.float32, num_hidden_layers=1)
    spec = preset(name, bits="W4A4", samples=2, sample_length=16, spike={"attention": True})
    spec = spec.replace(refine_epochs=min(spec.refine_epochs, 1))
    ids = torch.randint(2, 97, (2, 16), generator=torch.Generator().manual_seed(0))
    report = convert_model(model, spec, calibration=ids, out=tmp_path / "out")
    loaded = load_model(tmp_path / "out")
    energy = conversion_cost(loaded, report, [ids]).energy
    assert energy is not None
    parts = {part.name: part for part in energy.float_parts}

    additions = transformed = 0.0
    for path, module in loaded.named_modules():
        if isinstance(module, OnlineRotation):
            # keys and queries are rotated head by head, hidden features once
            times = KV_HEADS + HEADS if path.endswith("spike_keys.rotation") else 1
            additions += times * rotation_work(module)["additions"]
        if isinstance(module, KroneckerTransform) and not path.startswith(SHARING):
            transformed += module.features * (module.left.shape[0] + module.right.shape[0])
    assert (additions > 0) == (name in ("quarot", "darkit"))
    assert (transformed > 0) == (name == "flatquant")
    assert (parts["online rotation"].additions if "online rotation" in parts else 0) == additions
    assert (parts["learned transform"].macs if "learned transform" in parts else 0) == transformed

    layers = [module for module in loaded.modules() if isinstance(module, PackedSpikeLinear)]
    scales = sum(layer.out_features * max(1, len(layer.parts)) for layer in layers)
    assert parts["scale and zero point"].multiplications >= scales + sum(layer.out_features for layer in layers)
    assert parts["spike encoding"].special >= sum(layer.in_features for layer in layers)
    line = energy_table(energy).replace("\N{NO-BREAK SPACE}", " ").replace("\n", " ")
    assert all(part in " ".join(line.split()) for part in parts)
