from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from darkit_nb.edit.apply import apply, make_patch, revert
from darkit_nb.edit.optimizer import follow, named_by_id, undo
from darkit_nb.edit.source import module_source
from tests.edit.zoo import build

MLP = "model.layers.0.mlp"


def grouped(model: nn.Module, **more) -> torch.optim.AdamW:
    """Weight decay for matrices only, as trainers group parameters."""
    decay = [each for each in model.parameters() if each.dim() > 1]
    rest = [each for each in model.parameters() if each.dim() < 2]
    groups = [{"params": decay, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=1e-2, **more)


def step(model: nn.Module, run, optimizer: torch.optim.Optimizer) -> None:
    run(model).float().square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()


def facts(optimizer: torch.optim.Optimizer) -> tuple[list[list[int]], dict[int, int]]:
    groups = [[id(each) for each in group["params"]] for group in optimizer.param_groups]
    return groups, {id(each): id(state["exp_avg"]) for each, state in optimizer.state.items()}


def wider(model: nn.Module) -> str:
    text = module_source(model, MLP).text
    lines = "self.gate = nn.Linear(self.hidden_size, 1)", "self.scale = nn.Parameter(torch.ones(1))", "self.act_fn ="
    new = "\n        ".join(lines)
    text = text.replace("self.act_fn =", new)
    text = text.replace(
        "self.up_proj = nn.Linear(self.hidden_size, self", "self.up_proj = nn.Linear(self.hidden_size, 2 * self"
    )
    return text.replace("* self.up_proj(x)", "* self.up_proj(x).chunk(2, -1)[0] * self.gate(x) * self.scale")


def test_new_parameters_join_the_group_of_those_like_them_and_leave_again(tmp_path: Path):
    model, run = build("llama")
    optimizer = grouped(model.train())
    step(model, run, optimizer)
    before, momentum = facts(optimizer), optimizer.state[model.get_submodule(MLP).up_proj.weight]["exp_avg"].clone()
    old = model.get_submodule(MLP).up_proj.weight
    apply(model, make_patch(model, MLP, wider(model)), optimizer=optimizer, folder=tmp_path)
    mlp, places = model.get_submodule(MLP), facts(optimizer)[0]
    assert {id(mlp.up_proj.weight), id(mlp.gate.weight)} <= set(places[0])
    assert {id(mlp.gate.bias), id(mlp.scale)} <= set(places[1])
    assert id(old) not in places[0] + places[1]
    assert old not in optimizer.state
    start = mlp.gate.weight.detach().clone()
    for _ in range(2):
        step(model, run, optimizer)
    assert not torch.equal(mlp.gate.weight, start)
    revert(model, optimizer=optimizer)
    assert facts(optimizer) == before
    assert torch.equal(optimizer.state[old]["exp_avg"], momentum)
    step(model, run, optimizer)


def test_a_training_that_was_edited_and_taken_back_at_once_goes_on_bit_for_bit(tmp_path: Path):
    ends = []
    for edited in (False, True):
        model, run = build("llama", spiking=True)
        optimizer = grouped(model.train())
        for number in range(4):
            if edited and number == 2:
                apply(model, make_patch(model, MLP, wider(model)), optimizer=optimizer, folder=tmp_path)
                revert(model, optimizer=optimizer)
            step(model, run, optimizer)
        ends.append(torch.cat([each.flatten() for each in model.parameters()]))
    assert torch.equal(*ends)


def test_a_tied_weight_that_still_stands_elsewhere_is_not_dropped():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    optimizer = torch.optim.AdamW(model.parameters())
    before, groups = named_by_id(model), facts(optimizer)
    model[1].weight = nn.Parameter(torch.ones(3, 3))
    change = follow(optimizer, before, named_by_id(model))
    assert change.taken == []
    assert change.added == [model[1].weight]
    undo(optimizer, change)
    assert facts(optimizer) == groups


def test_frozen_parameters_are_left_out_and_wrappers_looked_through():
    model = nn.Linear(3, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    class Wrapped(torch.optim.Optimizer):
        def __init__(self) -> None:
            self.optimizer = optimizer

    before = named_by_id(model)
    model.frozen = nn.Parameter(torch.ones(1), requires_grad=False)
    model.more = nn.Parameter(torch.ones(1))
    change = follow(Wrapped(), before, named_by_id(model))
    assert [id(each) for each in change.added] == [id(model.more)]
    assert len(optimizer.param_groups[0]["params"]) == 3


def test_an_optimizer_made_after_the_edit_follows_when_it_is_taken_back(tmp_path: Path):
    """As in a training that was resumed: its optimizer never knew the model without the edit."""
    model, run = build("llama")
    apply(model, make_patch(model, MLP, wider(model)), folder=tmp_path)
    optimizer = grouped(model.train())
    step(model, run, optimizer)
    revert(model, optimizer=optimizer)
    held = [id(each) for group in optimizer.param_groups for each in group["params"]]
    assert sorted(held) == sorted(id(each) for each in model.parameters())
    assert {id(each) for each in optimizer.state} <= set(held)
    step(model, run, optimizer)
