from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from darkit_nb.edit.apply import apply, history, revert
from darkit_nb.edit.spec_edit import editable_fields, make_spec_patch
from darkit_nb.errors import BackendError, ConfigError, PatchError
from darkit_nb.functional.weight import QuantisedWeight, weight_encode
from darkit_nb.nn.gif import GIF
from darkit_nb.nn.neuron import IF, LIF, PLIF, IntegerLIF
from darkit_nb.nn.packed_linear import PackedSpikeLinear
from darkit_nb.records.patch import Patch
from darkit_nb.records.spike_spec import SpikeSpec
from darkit_nb.spikify import spiking_modules
from tests.edit.zoo import build


def neurons() -> nn.Sequential:
    return nn.Sequential(LIF(), PLIF((3,)), IntegerLIF(), IF(), nn.ReLU())


def state(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: each.clone() for name, each in model.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    "changes",
    [
        {"num_levels": 16},
        {"num_steps": 4, "salient_fraction": 0.5},
        {"num_steps": 1},
        {"signed": True, "weight_bits": 8},
        {"saliency": "energy"},
        {"coding": "radix"},
    ],
)
def test_settings_take_effect_and_the_old_ones_come_back(changes: dict[str, object]):
    model, run = build("llama", spiking=True)
    run(model.train())  # the salient features are chosen from what was seen
    expected, before = run(model.eval()), state(model)
    specs = {path: module.spec for path, module in spiking_modules(model).items()}
    patch = make_spec_patch(model, "model.layers.0", **changes)
    apply(model, Patch.from_json(patch.to_json()))
    changed = spiking_modules(model)
    for path, module in changed.items():
        inside = path.startswith("model.layers.0.")
        assert all(
            (getattr(module.spec, name) == value) is (inside or value == getattr(specs[path], name))
            for name, value in changes.items()
        )
    assert not torch.equal(run(model), expected)
    copied = copy.deepcopy(model)
    assert torch.equal(run(copied), run(model))
    revert(model)
    assert all(module.spec is specs[path] for path, module in spiking_modules(model).items())
    assert same(state(model), before)
    assert torch.equal(run(model), expected)


def test_a_larger_share_of_salient_features_is_chosen_at_once():
    model, run = build("llama", spiking=True)
    apply(model, make_spec_patch(model, "model.layers.0.mlp.up_proj", salient_fraction=0.5))
    module = model.get_submodule("model.layers.0.mlp.up_proj")
    assert int(module.salient.sum()) == 8
    assert run(model).isfinite().all()


def test_a_statistic_of_another_kind_begins_anew_and_comes_back():
    model, run = build("llama", spiking=True)
    run(model.train())
    module = model.get_submodule("model.layers.0.mlp.up_proj")
    seen, forwards = module.statistic.clone(), int(module.forwards)
    apply(model, make_spec_patch(model, "model.layers.0.mlp.up_proj", saliency="energy"))
    assert int(module.forwards) == 0
    run(model)
    assert int(module.forwards) == 1
    revert(model)
    assert torch.equal(module.statistic, seen)
    assert int(module.forwards) == forwards


def test_a_packed_layer_gathers_no_statistic_and_takes_other_settings_and_its_own_again():
    weight = QuantisedWeight(((None, weight_encode(torch.randn(6, 16), 4)),), (6, 16))
    salient = torch.arange(16) < 4
    model = nn.Sequential(PackedSpikeLinear.from_weight(weight, None, SpikeSpec(salient_fraction=0.25), salient)).eval()
    before = state(model)
    apply(model, make_spec_patch(model, ["0"], salient_fraction=0.5, saliency="energy"))
    assert int(model[0].salient.sum()) == 8
    revert(model)
    assert same(before, state(model))


@pytest.mark.parametrize("change", [{"weight_bits": 2}, {"reselect_every": 5}])
def test_a_packed_weight_keeps_its_bits_and_its_features(change: dict[str, int]):
    weight = QuantisedWeight(((None, weight_encode(torch.randn(6, 16), 4)),), (6, 16))
    model = nn.Sequential(PackedSpikeLinear.from_weight(weight, None, SpikeSpec())).eval()
    assert not set(change) & set(editable_fields(model[0]))
    with pytest.raises(PatchError, match="no such setting") as caught:
        make_spec_patch(model, "0", **change)
    assert caught.value.fix == "convert the model anew"
    assert model[0].spec == SpikeSpec()


def test_neurons_of_time_change_their_constants():
    model, x = neurons(), torch.rand(4, 3)
    before = [each(x)[0] for each in model[:4]]
    weights = state(model)
    patch = make_spec_patch(model, "", threshold=0.4)
    assert patch.targets == ("0", "1", "2", "3")
    apply(model, patch)
    assert [editable_fields(each)["threshold"] for each in model[:4]] == pytest.approx([0.4] * 4)
    assert any(not torch.equal(each(x)[0], old) for each, old in zip(model[:4], before, strict=True))
    apply(model, make_spec_patch(model, ["0", "3"], reset="hard", surrogate="sigmoid"))
    assert (model[0].reset, model[3].surrogate) == ("hard", "sigmoid")
    revert(model, count=None)
    assert same(state(model), weights)
    assert all(torch.equal(each(x)[0], old) for each, old in zip(model[:4], before, strict=True))


@pytest.mark.parametrize(
    ("path", "changes", "error"),
    [
        ("0", {"decay": 1.5}, ConfigError),
        ("0", {"threshold": 0}, ConfigError),
        ("0", {"threshold": float("nan")}, ConfigError),
        ("0", {"threshold": True}, ConfigError),
        ("0", {"surrogate": "none"}, ConfigError),
        ("0", {"reset": "half"}, ConfigError),
        ("1", {"decay": 1.0}, ConfigError),
        ("2", {"max_count": 0}, ConfigError),
        ("2", {"surrogate": "arctan"}, PatchError),
        ("0", {"num_levels": 4}, PatchError),
        ("4", {"threshold": 1.0}, PatchError),
        ("0", {}, PatchError),
    ],
)
def test_what_a_neuron_cannot_be_is_refused(path: str, changes: dict[str, object], error: type[Exception]):
    with pytest.raises(error):
        make_spec_patch(neurons(), path, **changes)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"num_levels": 1}, ConfigError),
        ({"coding": "paper", "num_levels": 3}, ConfigError),
        ({"attention": True}, PatchError),
        ({"levels": 4}, PatchError),
        ({"backend": "cupy"}, BackendError),
    ],
)
def test_a_spec_without_meaning_changes_nothing(changes: dict[str, object], error: type[Exception]):
    model, _ = build("llama", spiking=True)
    with pytest.raises(error):
        make_spec_patch(model, "", **changes)
    handmade = Patch(
        kind="spec",
        targets=("model.layers.0.mlp.up_proj", "lm_head"),
        module="m",
        class_name="C",
        spec={"num_levels": 2},
    )
    with pytest.raises(PatchError, match="lm_head"):
        apply(model, handmade)
    assert history(model) == ()
    assert model.get_submodule("model.layers.0.mlp.up_proj").spec.num_levels == 4


def test_settings_changed_by_other_means_are_not_reverted_silently():
    model = neurons()
    apply(model, make_spec_patch(model, "0", threshold=0.5))
    model[0].threshold = 0.7
    with pytest.raises(PatchError, match="by other means"):
        revert(model)


def test_what_can_be_edited_is_named_with_its_value():
    model, _ = build("llama", spiking=True)
    module = model.get_submodule("model.layers.0.self_attn.spike_keys")
    assert isinstance(module, GIF)
    assert editable_fields(module)["num_levels"] == 4
    assert editable_fields(neurons()[2]) == {
        "decay": 0.25,
        "threshold": 1.0,
        "max_count": 4,
        "detach_reset": True,
        "decay_input": False,
        "backend": "auto",
    }
    assert editable_fields(nn.ReLU()) == {}
