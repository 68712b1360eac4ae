"""The trace against ground truth: parameters, operations, hierarchy, and every operator of the exported graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from darkit_nb.records.spike_spec import SpikeSpec
from darkit_nb.records.trace import ModelTrace
from darkit_nb.spikify import spikify
from darkit_nb.trace import trace_flow, trace_model
from darkit_nb.trace.flow import forward_lines
from darkit_nb.trace.flow_export import Exported, export_graph, level_steps
from darkit_nb.trace.flow_fold import fold
from darkit_nb.trace.inputs import Arguments, arguments_of, fresh
from darkit_nb.trace.untouched import untouched
from tests.evaluate.models import decoder
from tests.trace.architectures import DECODERS, FURTHER, IDS, OTHERS, plain_flops, transformer
from tests.trace.models import (
    Experts,
    Functional,
    HalfPrecision,
    Loose,
    Nested,
    Patches,
    Reparametrised,
    Restarts,
    Scan,
    Shared,
    SmallResNet,
    StateLoop,
    StepMode,
    Tagger,
    Tied,
    Unrolled,
    Until,
)


def traced(model: nn.Module, arguments: Arguments, flops: int | None = None) -> ModelTrace:
    """The trace, once its rows, parameters and operations are found true."""
    trace = trace_model(model, arguments)
    assert trace.problem is None
    assert [node.path for node in trace.nodes] == [name for name, _ in model.named_modules()]
    for node in trace.nodes:
        module = model.get_submodule(node.path)
        assert node.parameters == sum(p.numel() for p in module.parameters())
        assert node.trainable == sum(p.numel() for p in module.parameters() if p.requires_grad)
        assert node.own_parameters == sum(p.numel() for p in module.parameters(recurse=False))
    assert trace.root.flops == (plain_flops(model, *fresh(arguments)) if flops is None else flops)
    assert trace.root.flops == sum(node.own_flops for node in trace.nodes)
    return trace


def exported(model: nn.Module, arguments: Arguments) -> Exported:
    with untouched(model):
        return export_graph(model, fresh(arguments))


def drawn_once(model: nn.Module, arguments: Arguments, trace: ModelTrace) -> None:
    """Every operator of the graph stands in exactly one level, as a step and in a box; modules where they ran."""
    graph = exported(model, arguments)
    steps, boxes = Counter[str](), Counter[str]()
    for path, module in model.named_modules():
        lines = forward_lines(module)
        level = level_steps(graph, path, "", {}, lines)
        nodes, _ = fold(level, lines[0])
        steps.update(step.full_name for step in level if step.kind == "operator")
        for node in nodes:
            boxes[node.class_name] += node.calls if node.kind == "operator" else 0
            assert node.kind != "module" or trace.node(node.path).calls > 0
    assert len(graph.operators) >= 2
    every = Counter(operator.name for operator in graph.operators)
    assert steps == every
    assert +boxes == every


ALIKE = ("qwen2", "mistral", "gemma", "olmo", "distilbert", "electra")
"""Close relatives of others here."""

FIFTEEN = [
    pytest.param(family, marks=pytest.mark.slow) if family in ALIKE else family for family in (*DECODERS, *OTHERS)
]


@pytest.mark.parametrize("family", FIFTEEN)
def test_fifteen_architectures(family: str):
    model, inputs = (decoder(family), IDS) if family in DECODERS else transformer(family)
    arguments = arguments_of(model, inputs)
    drawn_once(model, arguments, traced(model, arguments))


def test_a_spiking_twin():
    flops = plain_flops(decoder("opt"), (IDS,), {"use_cache": False})
    model = spikify(decoder("opt"))
    arguments = arguments_of(model, IDS)
    drawn_once(model, arguments, traced(model, arguments, flops))


@pytest.mark.slow
@pytest.mark.parametrize("attention", [False, True], ids=["layers", "attention too"])
@pytest.mark.parametrize("family", DECODERS)
def test_spiking_twins_of_all_decoders(family: str, attention: bool):
    flops = plain_flops(decoder(family), (IDS,), {"use_cache": False})
    model = spikify(decoder(family), SpikeSpec(attention=attention))
    arguments = arguments_of(model, IDS)
    drawn_once(model, arguments, traced(model, arguments, flops))


@pytest.mark.slow
@pytest.mark.parametrize("family", FURTHER)
def test_further_architectures(family: str):
    model, inputs = transformer(family)
    arguments = arguments_of(model, inputs)
    drawn_once(model, arguments, traced(model, arguments))


X, SEQUENCE, IMAGE = torch.randn(2, 8), torch.randn(2, 5, 8), torch.randn(2, 3, 16, 16)
OWN: dict[str, tuple[Callable[[], nn.Module], Any, int | None]] = {
    "residual network": (SmallResNet, torch.randn(1, 3, 32, 32), None),
    "lstm": (Tagger, IDS, None),
    "tied weights": (Tied, IDS, None),
    "shared module": (Shared, torch.randn(2, 4), None),
    "functional call": (Functional, X, None),
    "nested dicts": (Nested, (({"x": {"v": SEQUENCE}},), {"scale": 2.0}), None),
    "patches": (Patches, IMAGE, None),
    "scan": (Scan, SEQUENCE, None),
    "checkpointed": (Restarts, X, None),
    "half precision": (HalfPrecision, X, None),
    # two 8 × 8 products for two rows, and W·v of the spectral norm, which PyTorch's counter does not know
    "reparametrised": (Reparametrised, X, 2 * (2 * 2 * 64) + 2 * 64),
    "step mode": (lambda: StepMode(3), torch.rand(2, 6), None),
    "state loop": (lambda: StateLoop(3), torch.rand(2, 6), None),
    "unrolled": (lambda: Unrolled(3), torch.rand(2, 6), None),
    "compiled part": (lambda: nn.Sequential(nn.Linear(8, 8), torch.compile(nn.Linear(8, 3), backend="eager")), X, None),
    "several devices": (lambda: nn.DataParallel(nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.ReLU())), X, None),
}


@pytest.mark.parametrize("name", OWN)
def test_modules_of_ones_own(name: str):
    torch.manual_seed(0)
    make, inputs, flops = OWN[name]
    model = make().eval()
    arguments = arguments_of(model, inputs)
    drawn_once(model, arguments, traced(model, arguments, flops))


def quantised() -> nn.Module:
    from torch.ao.quantization import quantize_dynamic

    return quantize_dynamic(nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 4)), {nn.Linear})


LOOKED_AT: dict[str, tuple[Callable[[], nn.Module], Any, int | None]] = {
    "any arguments": (Loose, ((torch.randn(3, 4),), {"bias": torch.ones(4)}), None),
    "mixture of experts": (Experts, SEQUENCE, None),
    "a loop until": (Until, X, None),
    "quantised": (quantised, X, 2 * 2 * (8 * 6 + 6 * 4)),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [*LOOKED_AT, pytest.param("longformer", marks=pytest.mark.slow)])
def test_what_export_cannot_do_says_so_and_is_looked_at(name: str, capfd: pytest.CaptureFixture[str]):
    torch.manual_seed(0)
    make, inputs, flops = LOOKED_AT.get(name) or (lambda: transformer(name)[0], IDS, None)
    model = make().eval()
    arguments = arguments_of(model, inputs)
    trace = traced(model, arguments, flops)
    capfd.readouterr()
    flow = trace_flow(model, inputs)
    assert flow.origin == "hooks"
    assert flow.reason is not None
    assert flow.reason.startswith("torch.export: ")
    assert capfd.readouterr() == ("", "")  # torch.export prints the graph it failed on
    drawn = {node.path: node.calls for node in flow.nodes if node.kind == "module"}
    ran = {node.path for node in trace.nodes if node.calls}
    below = {path for path in ran if path and not any(path.startswith(f"{other}.") for other in ran - {"", path})}
    assert drawn == {path: trace.node(path).calls for path in below}


@pytest.mark.slow
@pytest.mark.parametrize("family", ["gpt2", "bert", "albert", "bart", "mamba", "electra", "resnet", "lstm"])
def test_levels_exported_one_by_one_hold_every_operator_too(family: str):
    own = {"resnet": (SmallResNet, torch.randn(1, 3, 32, 32)), "lstm": (Tagger, IDS)}
    if family in own:
        model, inputs = own[family][0]().eval(), own[family][1]
    else:
        model, inputs = (decoder(family), IDS) if family in DECODERS else transformer(family)
    trace, found = trace_model(model, inputs), Counter[str]()
    for node in trace.nodes:
        flow = trace_flow(model, inputs, node.path) if node.calls else None
        for box in () if flow is None else flow.nodes:
            found[box.class_name] += node.calls * box.calls if box.kind == "operator" else 0
    assert +found == Counter(each.name for each in exported(model, arguments_of(model, inputs)).operators)
