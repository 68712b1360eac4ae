"""Validation of an edit: what it is tried with, what it says, and that the live model never knows."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from darkit_nb.edit.apply import apply, history, make_patch, revert
from darkit_nb.edit.recording import record_inputs
from darkit_nb.edit.source import module_source
from darkit_nb.edit.spec_edit import make_spec_patch
from darkit_nb.edit.static_check import static_problems
from darkit_nb.edit.validate import check_facts, validate
from darkit_nb.errors import PatchError
from tests.edit.zoo import ARCHITECTURES, build

MLP = "model.layers.0.mlp"
TOKENS = torch.arange(14).view(2, 7)


@pytest.fixture(scope="module")
def llama() -> nn.Module:
    return build("llama")[0]


def scaled(model: nn.Module, factor: str, path: str = MLP, **more):
    text = f"class LlamaMLP(LlamaMLP):\n    def forward(self, x):\n        return super().forward(x) * {factor}\n"
    return make_patch(model, path, text, **more)


def test_a_live_model_is_tried_as_it_is_with_hooks_locks_and_a_gradient(llama: nn.Module):
    seen: list[int] = []
    lock = threading.Lock()
    handle = llama.get_submodule(MLP).register_forward_hook(lambda *_: (lock.locked(), seen.append(1))[1])
    llama.train()
    llama(TOKENS).logits.sum().backward()
    gradients = [each.grad.clone() for each in llama.parameters() if each.grad is not None]
    seen.clear()
    checked = validate(llama, scaled(llama, "2"), inputs=TOKENS)
    assert checked.ok
    assert llama.training
    assert len(seen) == 1  # the forward that records; none from another process
    assert all(torch.equal(one, each.grad) for one, each in zip(gradients, llama.parameters(), strict=True))
    handle.remove()
    llama.zero_grad()
    llama.eval()


def test_targets_that_are_alike_are_tried_once_and_all_are_told_of(llama: nn.Module):
    text = """
class Biased(LlamaMLP):
    def __init__(self, config):
        super().__init__(config)
        self.shift = nn.Parameter(torch.zeros(config.hidden_size))

    def forward(self, x):
        return super().forward(x) + self.shift
"""
    patch = make_patch(llama, MLP, text, targets=[MLP, "model.layers.1.mlp"])
    recorded = record_inputs(llama, MLP, TOKENS)  # of the second there are no inputs
    checked = validate(llama, patch, recorded=recorded)
    assert checked.problems == ()
    assert checked.new == (f"{MLP}.shift", "model.layers.1.mlp.shift")
    assert len(checked.kept) == 6


def test_an_edit_of_an_edited_module_is_tried_on_top_of_it(llama: nn.Module, tmp_path: Path):
    apply(llama, scaled(llama, "2"), folder=tmp_path)
    source = module_source(llama, MLP).text
    again = make_patch(llama, MLP, source.replace("* 2", "* 3"))
    assert validate(llama, again, inputs=TOKENS).ok
    broken = make_patch(llama, MLP, source.replace("* 2", "* None"))
    assert [(each.check, each.line) for each in validate(llama, broken, inputs=TOKENS).problems] == [("forward", 3)]
    assert len([each for each in history(llama) if not each.reverted]) == 1
    revert(llama)


def test_a_base_that_changed_meanwhile_is_a_conflict_with_its_line(llama: nn.Module, tmp_path: Path):
    text = module_source(llama, MLP).text
    line = next(number for number, each in enumerate(text.splitlines(), 1) if "down_proj = self.down_proj(" in each)
    mine = make_patch(llama, MLP, text.replace("self.up_proj(x))", "self.up_proj(x)) * 2"))
    apply(llama, make_patch(llama, MLP, text.replace("self.up_proj(x))", "self.up_proj(x)) * 3")), folder=tmp_path)
    checked = validate(llama, mine, inputs=TOKENS)
    assert [(each.check, each.line) for each in checked.problems] == [("base", line)]
    revert(llama)
    assert validate(llama, mine, inputs=TOKENS).ok


def test_spike_settings_are_tried_too():
    model = build("llama", spiking=True)[0]
    patch = make_spec_patch(model, f"{MLP}.up_proj", num_levels=8)
    assert validate(model, patch, inputs=TOKENS).ok
    assert model.get_submodule(f"{MLP}.up_proj").spec.num_levels == 4


def test_what_cannot_be_tried_says_why(llama: nn.Module):
    aside = nn.ModuleDict({"used": nn.Linear(2, 2), "unused": nn.Linear(2, 2)})
    aside.forward = lambda x: aside["used"](x)
    text = "class Linear(Linear):\n    def forward(self, input):\n        return super().forward(input)\n"
    unused = validate(aside, make_patch(aside, "unused", text), inputs=torch.rand(1, 2))
    assert [each.check for each in unused.problems] == ["inputs"]
    assert "unused does not run" in unused.problems[0].message
    wrong = validate(llama, scaled(llama, "2"), inputs=torch.full((1, 4), 10**6))
    assert [each.check for each in wrong.problems] == ["inputs"]
    assert "as it is, before any edit" in wrong.problems[0].message
    nameless = validate(aside, make_patch(aside, "used", text))
    assert "without inputs" in nameless.problems[0].message
    aside["used"].lock = threading.Lock()
    with pytest.raises(PatchError, match="cannot be copied into another process"):
        validate(aside, make_patch(aside, "used", text), inputs=torch.rand(1, 2))


def test_a_container_is_never_called_and_a_long_batch_is_shortened(llama: nn.Module):
    text = "class Layers(ModuleList):\n    def heaviest(self):\n        return self[0]\n"
    assert validate(llama, make_patch(llama, "model.layers", text), inputs=TOKENS).ok
    long = {"input_ids": torch.zeros(5, 300, dtype=torch.long), "attention_mask": torch.ones(5, 300, dtype=torch.long)}
    (call,) = record_inputs(llama, "lm_head", long).calls["lm_head"]
    assert call.args[0].shape[:2] == (2, 64)


class Membrane(nn.Module):
    """Keeps its membrane from call to call, as the neurons of SpikingJelly do."""

    def __init__(self) -> None:
        super().__init__()
        self._memories, self.v = {"v": 0.0}, 0.0
        self.decay = nn.Parameter(torch.tensor(0.5))

    def reset(self) -> None:
        self.v = 0.0

    def forward(self, x: Tensor) -> Tensor:
        self.v = self.decay * self.v + x
        return self.v * 1.0


def test_a_neuron_with_a_membrane_is_tried_from_rest_and_keeps_what_it_has():
    net = nn.Sequential(nn.Linear(3, 4), Membrane())
    net(torch.rand(5, 3))  # a batch of another size, with a graph behind it
    held = net[1].v
    source = module_source(net, "1").text
    checked = validate(net, make_patch(net, "1", source.replace("* 1.0", "* 2.0")), inputs=torch.rand(2, 3))
    assert checked.problems == ()
    assert net[1].v is held


def test_a_device_cannot_be_checked_where_the_module_reads_numbers():
    class Counting(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            return super().forward(input) * (2 if float(input.sum()) > 0 else 1)

    net = nn.Sequential(Counting(3, 3))
    source = module_source(net, "0").text
    patch = make_patch(net, "0", source.replace("(2 if", "(3 if"))
    checked = validate(net, patch, inputs=torch.rand(2, 3), device="cuda")
    assert checked.ok
    assert "devices could not be checked" in checked.notes[0]


def test_facts_for_a_check_while_typing_come_from_the_module(llama: nn.Module):
    facts = check_facts(llama.get_submodule(MLP))
    text = module_source(llama, MLP).text
    assert static_problems(text, text, **facts) == []
    found = static_problems(text.replace("self.act_fn(", "self.act(").replace("nn.Linear", "mm.Linear"), text, **facts)
    assert [each.check for each in found] == ["names", "attributes"]


@pytest.mark.slow
@pytest.mark.parametrize("spiking", [False, True], ids=["float", "spiking"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_class_of_eight_architectures_passes_unchanged(name: str, spiking: bool):
    model, run = build(name, spiking=spiking)
    inputs = next(each.cell_contents for each in run.__closure__ if isinstance(each.cell_contents, Tensor))
    tried, aside = set(), []
    for path, module in model.named_modules():
        if type(module) in tried:
            continue
        tried.add(type(module))
        checked = validate(model, make_patch(model, path, module_source(model, path).text), inputs=inputs)
        if [each.check for each in checked.problems] == ["inputs"]:
            aside.append(type(module).__name__)
        else:
            assert checked.problems == (), path
    assert aside in ([], ["OPTModel"])  # which its model passes over: it calls the decoder inside


NOTEBOOK = '''
import linecache
import torch
from torch import nn

cell = """
SCALE = 3.0

class Cell(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.width = width
        self.layer = nn.Linear(width, width)

    def forward(self, x):
        return self.layer(x)
"""
linecache.cache["<cell 1>"] = (len(cell), None, cell.splitlines(True), "<cell 1>")
exec(compile(cell, "<cell 1>", "exec"))

from darkit_nb.edit.apply import make_patch
from darkit_nb.edit.source import module_source
from darkit_nb.edit.validate import validate

net = nn.Sequential(Cell())
text = module_source(net, "0").text
good = text.replace("self.layer(x)", "self.layer(x) * SCALE")
checked = validate(net, make_patch(net, "0", good), inputs=torch.rand(2, 4))
assert checked.ok, checked.problems
checked = validate(net, make_patch(net, "0", good.replace("SCALE", "[1]")), inputs=torch.rand(2, 4))
assert [(each.check, each.line) for each in checked.problems] == [("forward", 8)], checked.problems
'''


def test_classes_of_notebook_cells_and_their_globals_are_taken_along():
    done = subprocess.run([sys.executable, "-c", NOTEBOOK], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
