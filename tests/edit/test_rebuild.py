from __future__ import annotations

import copy
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from darkit_nb.edit.apply import apply, history, make_patch, revert
from darkit_nb.edit.rebuild import Rebuild
from darkit_nb.edit.source import find_module, module_source
from darkit_nb.errors import PatchError
from darkit_nb.nn.linear import SpikeLinear
from tests.edit.zoo import ARCHITECTURES, build

MLP = "model.layers.0.mlp"
GATED = """class Gated(LlamaMLP):
    def __init__(self, config):
        super().__init__(config)
        self.gate = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return (1 + self.gate) * super().forward(x)
"""


def change(model: nn.Module, path: str, *pairs: tuple[str, str]) -> str:
    text = module_source(model, path).text
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    return text


def put(model: nn.Module, path: str, text: str, folder: Path, **more):
    return apply(model, make_patch(model, path, text), folder=folder, **more)


def with_a_line(text: str) -> str | None:
    """The class with a line in `__init__` that changes nothing, so that it is built again."""
    start = text.find("super().__init__(")
    line = text.rfind("\n", 0, start) + 1
    return (
        None if start < 0 or text[line:start].strip() else f"{text[:line]}{text[line:start]}marker = 1\n{text[line:]}"
    )


def built_again_in_place(name: str, spiking: bool, folder: Path) -> int:
    model, run = build(name, spiking=spiking)
    expected, count = run(model), 0
    objects = {path: (module, type(module), set(vars(module))) for path, module in model.named_modules()}
    parameters = {path: id(each) for path, each in model.named_parameters()}
    for path in {type(module): path for path, module in reversed(list(model.named_modules()))}.values():
        text = with_a_line(module_source(model, path).text)
        if text is None or isinstance(model.get_submodule(path), nn.ModuleList | nn.Sequential):
            continue
        generators = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
        applied = put(model, path, text, folder)
        assert (applied.new, applied.dropped) == ((), ())
        assert type(find_module(model, path)) is not objects[path][1]
        assert torch.equal(run(model), expected)
        assert {name: id(each) for name, each in model.named_parameters()} == parameters
        assert all(module is objects[path][0] for path, module in model.named_modules())
        assert torch.equal(run(copy.deepcopy(model)), expected)
        assert torch.equal(torch.get_rng_state(), generators[0])
        assert (random.getstate(), np.random.get_state()[1].tolist()) == generators[1:]
        revert(model)
        assert type(find_module(model, path)) is objects[path][1]
        count += 1
    later = {"_darkit_history", "hf_quantizer", "is_quantized", "quantization_method"}
    for path, module in model.named_modules():
        assert (module, type(module)) == objects[path][:2]
        assert set(vars(module)) - later == objects[path][2] - later
    assert torch.equal(run(model), expected)
    return count


@pytest.mark.parametrize(("name", "spiking"), [("llama", True), ("tagger", False)])
def test_every_class_can_be_built_again_with_the_arguments_found(name: str, spiking: bool, tmp_path: Path):
    assert built_again_in_place(name, spiking, tmp_path) >= 4


@pytest.mark.slow
@pytest.mark.parametrize("spiking", [False, True])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_class_of_all_can_be_built_again(name: str, spiking: bool, tmp_path: Path):
    assert built_again_in_place(name, spiking, tmp_path) >= 3


@pytest.mark.parametrize("spiking", [False, True])
def test_a_gate_is_new_a_wider_layer_is_replaced_and_the_rest_is_kept(spiking: bool, tmp_path: Path):
    model, run = build("llama", spiking=spiking)
    expected, mlp = run(model), model.get_submodule(MLP)
    before, up = dict(mlp.named_modules()), mlp.up_proj
    text = change(
        model,
        MLP,
        ("self.act_fn =", "self.gate = nn.Linear(self.hidden_size, 1)\n        self.act_fn ="),
        (
            "self.up_proj = nn.Linear(self.hidden_size, self.inter",
            "self.up_proj = nn.Linear(self.hidden_size, 2 * self.inter",
        ),
        ("* self.up_proj(x)", "* self.up_proj(x).chunk(2, -1)[0] * self.gate(x)"),
    )
    applied = put(model, MLP, text, tmp_path)
    assert applied.new == (f"{MLP}.up_proj.weight", f"{MLP}.gate.weight", f"{MLP}.gate.bias")
    assert applied.dropped == (f"{MLP}.up_proj.weight",)
    assert applied.kept == (f"{MLP}.gate_proj.weight", f"{MLP}.down_proj.weight")
    assert model.get_submodule(MLP) is mlp
    assert mlp.gate_proj is before["gate_proj"]
    assert isinstance(mlp.gate_proj, SpikeLinear) is spiking
    assert mlp.up_proj.weight.shape == (48, 16)
    assert not torch.equal(run(model), expected)
    revert(model)
    assert dict(mlp.named_modules()) == before
    assert mlp.up_proj is up
    assert torch.equal(run(model), expected)


def test_new_weights_start_the_same_in_every_process_and_differ_between_layers(tmp_path: Path):
    text = GATED.replace("torch.zeros(1)", "torch.randn(4)").replace("self.gate)", "self.gate.sum())")
    weights = []
    for seed in (1, 2):
        model, _ = build("llama")
        torch.manual_seed(seed)
        source = module_source(model, MLP)
        apply(model, make_patch(model, MLP, text, targets=source.same_class), folder=tmp_path)
        weights.append([layer.mlp.gate for layer in model.model.layers])
    assert torch.equal(weights[0][0], weights[1][0])
    assert not torch.equal(weights[0][0], weights[0][1])


def test_dtype_and_mode_are_those_of_the_module(tmp_path: Path):
    model, _ = build("llama")
    model.to(torch.bfloat16)
    text = GATED.replace("        self.gate", "        self.drop = nn.Dropout(0.5)\n        self.gate")
    put(model, MLP, text, tmp_path)
    mlp = model.get_submodule(MLP)
    assert mlp.gate.dtype is torch.bfloat16
    assert not mlp.drop.training
    assert torch.get_default_dtype() is torch.float32


def test_new_weights_lie_where_the_module_lies(tmp_path: Path):
    model, _ = build("llama")
    model.to("meta")
    put(model, MLP, GATED, tmp_path)
    assert model.get_submodule(MLP).gate.is_meta
    revert(model)
    assert all(each.is_meta for each in model.parameters())


def test_an_activation_or_a_share_of_dropout_that_is_changed_in_init_takes_effect(tmp_path: Path):
    model, _ = build("gpt2")
    path = "transformer.h.0.mlp"
    text = change(
        model,
        path,
        ("nn.Dropout(config.resid_pdrop)", "nn.Dropout(0.75)"),
        ("ACT2FN[config.activation_function]", "torch.tanh"),
    )
    put(model, path, text, tmp_path)
    mlp = model.get_submodule(path)
    assert (mlp.dropout.p, mlp.act) == (0.75, torch.tanh)
    revert(model)
    assert mlp.dropout.p == 0.0
    assert isinstance(mlp.act, nn.Module)


def test_what_training_did_meanwhile_stays_when_the_edit_goes(tmp_path: Path):
    model, _ = build("resnet")
    block = model.layer1[0]
    put(
        model,
        "layer1.0",
        change(model, "layer1.0", ("self.bn2 =", "self.extra = nn.Linear(1, 1)\n        self.bn2 =")),
        tmp_path,
    )
    with torch.no_grad():
        block.conv1.weight.fill_(1.0)
    hook = block.register_forward_hook(lambda *_: None)
    block.note, running = "kept", block.bn1.running_mean.clone()
    model.train()(torch.randn(2, 3, 32, 32))
    revert(model)
    assert torch.equal(block.conv1.weight, torch.ones_like(block.conv1.weight))
    assert not torch.equal(block.bn1.running_mean, running)
    assert hook.id in block._forward_hooks
    assert block.training
    assert not hasattr(block, "extra")


def test_an_init_that_fails_names_its_line_and_leaves_everything(tmp_path: Path):
    model, run = build("llama")
    expected, before = run(model), dict(vars(model.get_submodule(MLP)))
    text = GATED.replace("torch.zeros(1)", "torch.zeros(config.no_such_field)")
    with pytest.raises(PatchError, match="no_such_field") as caught:
        apply(model, make_patch(model, MLP, text, targets=module_source(model, MLP).same_class), folder=tmp_path)
    assert caught.value.line == 4
    assert vars(model.get_submodule(MLP)) == before
    assert torch.equal(run(model), expected)
    assert history(model) == ()


class Hidden(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_parameter("table", nn.Parameter(torch.ones(width)))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.table


def test_arguments_that_cannot_be_found_are_asked_for(tmp_path: Path):
    model = nn.Sequential(Hidden(5))
    text = "class H(Hidden):\n    def __init__(self, width, more=1):\n"
    text += "        super().__init__(width)\n        self.more = more\n"
    with pytest.raises(PatchError, match="arguments are not known") as caught:
        put(model, "0", text, tmp_path)
    assert caught.value.fix == "apply(model, patch, arguments={'width': …})"
    with pytest.raises(PatchError, match="do not build it as it is") as caught:
        put(model, "0", text, tmp_path, arguments={"width": 4})
    assert caught.value.expected == "the parameters of the living module: table [5], not [4]"
    put(model, "0", text, tmp_path, arguments={"width": 5, "more": 3})
    assert model[0].more == 3


def test_the_line_of_the_parent_tells_what_no_attribute_holds(tmp_path: Path):
    model, _ = build("opt")
    path = "model.decoder.embed_positions"  # it keeps the number of rows, which is not the argument it was given
    put(model, path, with_a_line(module_source(model, path).text) or "", tmp_path)
    assert model.get_submodule(path).weight.shape[0] == 18


def test_only_edits_of_init_build_again(tmp_path: Path):
    model, _ = build("llama")
    forward_only = change(model, MLP, ("return down_proj", "return -down_proj"))
    put(model, MLP, forward_only, tmp_path)
    put(model, MLP, GATED, tmp_path)
    kinds = [isinstance(entry.undo[0], Rebuild) for entry in vars(model)["_darkit_history"]]
    assert kinds == [False, True]
