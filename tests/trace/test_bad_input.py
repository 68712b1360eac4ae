"""What a model cannot take, and models nobody would write: every message, and no hook left behind."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from typing import Any

import pytest
import torch
from torch import nn

from darkit_nb.errors import ModelError, ShapeError
from darkit_nb.trace import trace_flow, trace_model
from tests.evaluate.models import Stack, decoder
from tests.trace.kept import same, state_around, state_of
from tests.trace.models import Broken, Careful, Forces, Shared, SmallResNet, Tied

IDS = torch.arange(24).view(2, 12) % 20


def linear_on_meta() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4, device="meta"))


@pytest.mark.parametrize(
    ("model", "inputs", "failed", "said"),
    [
        (SmallResNet, torch.randn(1, 4, 32, 32), "conv1", r"RuntimeError: .*expected input.* to have 3 channels"),
        (SmallResNet, torch.randn(3, 32), "conv1", r"RuntimeError: .*[Ee]xpected 3D .* or 4D .*input"),
        (lambda: nn.Linear(4, 2), torch.randn(2, 5), "", r"RuntimeError: mat1 and mat2 shapes cannot be multiplied"),
        (
            Broken,
            torch.randn(2, 4),
            "body.2",
            r"RuntimeError: mat1 and mat2 shapes cannot be multiplied \(2x8 and 9x4\)",
        ),
        (lambda: nn.Linear(4, 2), torch.ones(2, 4, dtype=torch.long), "", r"RuntimeError: .* same dtype"),
        (lambda: nn.Linear(4, 2), torch.ones(2, 4, dtype=torch.float16), "", r"RuntimeError: .* same dtype"),
        (Tied, torch.randn(2, 4), "table", r"RuntimeError: Expected tensor for argument #1 'indices'"),
        (Tied, torch.full((1, 3), 99), "table", r"IndexError: index out of range"),
        (Tied, {"wrong": IDS}, "", r"TypeError: .*unexpected keyword argument 'wrong'"),
        (Tied, (IDS, IDS), "", r"TypeError: .*takes 2 positional arguments but 3 were given"),
        (decoder, torch.full((1, 4), 999), "model.embed_tokens", r"IndexError: index out of range"),
        (linear_on_meta, torch.randn(2, 4), "1", r"RuntimeError: .*meta"),
    ],
)
def test_a_forward_that_raises_names_the_module_and_the_cause(model: Any, inputs: Any, failed: str, said: str):
    built = model()
    before, around = state_of(built), state_around()
    trace = trace_model(built, inputs)
    assert trace.problem is not None
    assert trace.failed == failed
    assert trace.node(failed).problem == trace.problem
    assert re.match(said, trace.problem.replace("\n", " ")), trace.problem
    assert [node.path for node in trace.nodes] == [name for name, _ in built.named_modules()]
    with suppress(ModelError):
        trace_flow(built, inputs, origin="hooks")
    assert same(before, state_of(built))
    assert same(around, state_around())


@pytest.mark.parametrize("inputs", [None, "text", {}, (), 3, [[]], {"ids": None}])
@pytest.mark.parametrize("look", [trace_model, trace_flow])
def test_nothing_to_run_on(inputs: Any, look: Any):
    with pytest.raises(ShapeError, match=r"no tensor to run|needs a tokenizer"):
        look(Stack(), inputs)


@pytest.mark.parametrize("look", [trace_model, trace_flow])
def test_inputs_without_values_for_a_model_with_weights(look: Any):
    with pytest.raises(ShapeError, match=r"lie on the meta device") as told:
        look(Stack(), {"ids": IDS.to("meta")})
    assert 'model.to("meta")' in str(told.value)


def test_inputs_follow_the_model():
    trace = trace_model(Stack().to("meta"), IDS)
    assert (trace.problem, trace.device) == (None, "meta")


def test_an_unknown_module_is_named():
    with pytest.raises(ModelError, match="as up"):
        trace_model(Stack(), IDS).node("upp")
    with pytest.raises(ModelError, match="no such module"):
        trace_flow(Stack(), IDS, "upp")


@pytest.mark.parametrize("origin", ["auto", "hooks"])
@pytest.mark.parametrize(("path", "said"), [("idle", "does not call it"), ("body.3", "the forward failed before it")])
def test_a_module_that_is_never_called(path: str, said: str, origin: Any):
    model, x = (Shared(), torch.randn(2, 4)) if path == "idle" else (Broken(), torch.randn(2, 4))
    node = trace_model(model, x).node(path)
    assert (node.calls, node.outputs, node.flops) == (0, (), 0)
    with pytest.raises(ModelError, match=r"did not run|the forward failed"):
        trace_flow(model, x, path, origin=origin)


# -- hooks of others ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("result", [{"odd": [torch.ones(2, 4), None, 3]}, "text", 3.5, torch.ones(0)])
def test_hooks_that_return_something_else(result: Any):
    model = nn.Sequential(nn.Linear(4, 4), nn.Identity())
    model[0].register_forward_hook(lambda module, args, output: result)
    trace = trace_model(model, torch.randn(2, 4))
    assert trace.problem is None
    assert [spec.name for spec in trace.node("0").outputs] == {dict: ["odd.0"], torch.Tensor: [""]}.get(
        type(result), []
    )
    assert len(model[0]._forward_hooks) == 1
    assert len(trace_flow(model, torch.randn(2, 4), origin="hooks").nodes) >= 3


def test_hooks_that_change_the_arguments():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].register_forward_pre_hook(lambda module, args: args[0][:1])
    trace = trace_model(model, torch.randn(2, 4))
    assert trace.node("1").inputs[0].shape == (1, 4)
    assert trace.root.outputs[0].shape == (1, 4)


def test_a_hook_that_raises_is_a_problem_of_its_module():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())

    def refuse(module: nn.Module, args: Any, output: Any) -> None:
        raise LookupError("not here")

    model[1].register_forward_hook(refuse)
    before = state_of(model)
    trace = trace_model(model, torch.randn(2, 4))
    assert (trace.problem, trace.failed) == ("LookupError: not here", "1")
    assert same(before, state_of(model))


def test_an_exception_is_no_reason_to_lose_what_comes_after():
    flow = trace_flow(Careful(), torch.randn(2, 4), origin="hooks")
    assert [node.label for node in flow.nodes] == ["x", "bad", "good", "relu", "output"]
    try:
        raise ValueError("elsewhere")
    except ValueError:
        again = trace_flow(Careful(), torch.randn(2, 4), origin="hooks")
    assert again == flow


# -- odd models --------------------------------------------------------------------------------------------------------


def test_a_gradient_inside_a_forward():
    trace = trace_model(Forces(), torch.randn(2, 8))
    assert trace.problem is None
    assert trace.root.macs == 2 * 8 * 2  # there, and back to the input

    assert {node.label for node in trace_flow(Forces(), torch.randn(2, 8)).nodes} >= {"energy", "neg"}


def test_modules_that_wait_for_their_first_input_still_wait():
    class Late(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.norm, self.last = nn.LazyLinear(8), nn.LazyBatchNorm1d(), nn.Linear(8, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(self.norm(self.first(x)))

    model, x = Late(), torch.randn(3, 5)
    around = state_around()
    trace = trace_model(model, x)
    assert (trace.problem, trace.root.parameters) == (None, 5 * 8 + 8 + 16 + 8 * 2 + 2)
    assert "still waits" in trace.notes[-1]
    assert trace_flow(model, x).origin == "torch.export"
    failed = trace_model(model, torch.ones(3, 5, dtype=torch.long))
    assert failed.problem is not None
    assert failed.node("norm").parameters == 0
    assert isinstance(model.first, nn.LazyLinear)
    assert isinstance(model.norm, nn.LazyBatchNorm1d)
    assert nn.parameter.is_lazy(model.first.weight)
    assert same(around, state_around())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("whole", [False, True], ids=["part", "whole"])
def test_a_scripted_module_is_one_piece(whole: bool):
    script = torch.jit.script(nn.Sequential(nn.Linear(8, 8), nn.ReLU()))
    model = script if whole else nn.Sequential(nn.Linear(8, 8), script)
    x = torch.randn(2, 8)
    around = state_around()
    trace = trace_model(model, x, timing=True, memory=True)
    piece = trace.root if whole else trace.node("1")
    assert trace.problem is None
    assert (piece.class_name, piece.calls, piece.macs) == ("Sequential", 1, 2 * 64)
    assert piece.outputs[0].shape == (2, 8)
    assert "only calls from Python are seen" in trace.notes[-1]
    with pytest.raises(ModelError, match="TorchScript runs"):
        trace_flow(model, x, piece.path)
    if not whole:
        assert [node.label for node in trace_flow(model, x).nodes] == ["input", "0", "1", "output"]
    assert same(around, state_around())


@pytest.mark.filterwarnings("ignore")
def test_a_traced_module_too():
    model = torch.jit.trace(nn.Sequential(nn.Linear(8, 8), nn.ReLU()), torch.randn(2, 8))
    assert trace_model(model, torch.randn(2, 8)).root.macs == 2 * 64


def test_a_list_of_modules_that_runs_is_a_level():
    class Chain(nn.ModuleList):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for module in self:
                x = module(x)
            return x

    chain = Chain([nn.Linear(4, 4), nn.ReLU()])
    for model, path in ((chain, ""), (nn.Sequential(chain), "0")):
        flow = trace_flow(model, torch.randn(2, 4), path)
        assert [node.label for node in flow.nodes] == ["x", "0", "1", "output"]
    alone = trace_flow(nn.ModuleList([nn.Linear(4, 4)]), torch.randn(2, 4))
    assert alone.reason is not None
    assert "the forward failed: NotImplementedError" in alone.reason


@pytest.mark.slow
def test_a_hundred_thousand_modules():
    model = nn.ModuleList([nn.ModuleList([nn.Identity() for _ in range(100)]) for _ in range(1000)])
    model.forward = lambda x: model[0][0](x)
    start = time.process_time()
    trace = trace_model(model, torch.ones(1))
    assert time.process_time() - start < 60
    assert len(trace.nodes) == 101_001
    assert sum(node.calls for node in trace.nodes) == 2
    flow = trace_flow(model, torch.ones(1))
    assert flow.reason is not None
    assert "101,001 modules" in flow.reason
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("origin", ["auto", "hooks"])
def test_a_level_that_returns_packed_sequences(origin: Any):
    class Packs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(8, 4, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            packed = nn.utils.rnn.pack_padded_sequence(x, torch.tensor([5, 3]), batch_first=True)
            return nn.utils.rnn.pad_packed_sequence(self.lstm(packed)[0], batch_first=True)[0]

    assert trace_model(Packs(), torch.randn(2, 5, 8)).problem is None
    assert "lstm" in {node.label for node in trace_flow(Packs(), torch.randn(2, 5, 8), origin=origin).nodes}
