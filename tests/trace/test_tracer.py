"""Tracing a model: what it says is true, for any model, and the model is afterwards what it was."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModel, PreTrainedModel

from darkit_nb.errors import ShapeError
from darkit_nb.evaluate import energy_report, measure_spikes
from darkit_nb.models.build import build_model
from darkit_nb.nn.gif import GIF
from darkit_nb.nn.neuron import IntegerLIF
from darkit_nb.nn.packed_linear import PackedSpikeLinear
from darkit_nb.records.spike_spec import SpikeSpec
from darkit_nb.records.trace_node import SpikeFacts
from darkit_nb.records.trace_wire import to_wire
from darkit_nb.spikify import spikify, spiking_modules
from darkit_nb.trace import trace_model
from tests.evaluate.models import Stack, decoder
from tests.nn.test_packed_linear import quantised
from tests.trace.models import Broken, Careful, Loose, Shared, SmallResNet, StateLoop, StepMode, Tagger, Tied, Unrolled

IDS = torch.arange(24).view(2, 12) % 20
FAMILIES = ["gpt2", "opt", "llama", "qwen2", "qwen3", "mistral", "gemma", "olmo"]


def names(trace: Any) -> list[str]:
    return [node.path for node in trace.nodes]


@pytest.mark.parametrize("spiking", [False, True], ids=["float", "spiking"])
@pytest.mark.parametrize("family", FAMILIES)
def test_decoders_are_traced_truly(family: str, spiking: bool):
    model = decoder(family)
    model = spikify(model) if spiking else model
    trace = trace_model(model, IDS)
    assert trace.problem is None
    assert names(trace) == [name for name, _ in model.named_modules()]
    assert trace.root.parameters == sum(p.numel() for p in model.parameters())
    assert trace.tokens == 24
    # products by the configuration: linear layers of every token, and attention over all pairs
    width, layers, tokens, length = 24, 2, 24, 12
    matrices = [m for m in model.modules() if getattr(m, "weight", None) is not None and m.weight.dim() == 2]
    linears = [m for m in matrices if not isinstance(m, nn.Embedding)]
    products = sum(m.weight.numel() for m in linears) * tokens
    heads = model.config.num_attention_heads * (getattr(model.config, "head_dim", None) or width // 4)
    attention = layers * 2 * 2 * length * length * heads
    assert trace.root.macs == products + attention
    assert trace.root.flops == sum(node.own_flops for node in trace.nodes)


def test_layers_shared_by_albert_are_one_row_each():
    model = AutoModel.from_config(
        AutoConfig.for_model("albert", hidden_size=32, num_hidden_layers=5, num_attention_heads=4, intermediate_size=48)
    )
    trace = trace_model(model, IDS)
    (layer,) = [node for node in trace.nodes if node.class_name == "AlbertLayer"]
    assert layer.calls == 5


def test_a_residual_network():
    model, image = SmallResNet(), torch.randn(2, 3, 32, 32)
    trace = trace_model(model, image)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(image)
    assert trace.root.flops == counter.get_total_flops()
    stem = trace.node("conv1")
    assert (stem.kind, stem.inputs[0].shape, stem.outputs[0].shape) == ("convolution", (2, 3, 32, 32), (2, 8, 16, 16))
    assert stem.macs == 2 * 16 * 16 * 8 * 3 * 7 * 7
    assert trace.node("layer1").calls == 1


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_an_lstm_counts_its_products(device: str):
    model = Tagger().to(device)
    trace = trace_model(model, IDS)
    each = 24 * (4 * 5 * (6 + 5) + 4 * 5 * (10 + 5)) * 2  # two layers, two directions
    assert trace.node("lstm").macs == each
    assert trace.root.macs == each + 24 * 10 * 3
    assert trace.node("lstm").kind == "recurrent"


def test_tied_weights_count_once():
    trace = trace_model(Tied(), IDS)
    assert (trace.root.parameters, trace.node("out").parameters, trace.node("out").tied) == (120, 120, 120)
    assert trace.root.parameter_bytes == 480


def test_packed_weights_count_as_what_they_stand_for():
    packed = PackedSpikeLinear.from_weight(quantised(), torch.randn(12), SpikeSpec())
    model = nn.Sequential(nn.Linear(7, 63), packed)
    trace = trace_model(model, torch.randn(2, 7))
    weights, held = 12 * 63 + 12, sum(buffer.nbytes for buffer in packed.buffers())
    assert (trace.node("1").parameters, trace.node("1").own_parameters, trace.node("1").trainable) == (
        weights,
        weights,
        0,
    )
    assert (trace.root.parameters, trace.root.trainable) == (weights + 8 * 63, 8 * 63)
    assert (trace.node("1").parameter_bytes, trace.node("1").buffer_bytes) == (held, 0)
    assert trace.root.parameter_bytes == held + 4 * 8 * 63


def test_a_module_under_two_names_is_one_row():
    model = Shared()
    trace = trace_model(model, torch.randn(2, 4))
    first, idle = trace.node("first"), trace.node("idle")
    assert (first.calls, first.calls_per_parent, first.aliases) == (3, 3, ("again",))
    assert trace.node("again") is first
    assert (idle.calls, idle.inputs, idle.flops) == (0, (), 0)
    assert first.flops == 3 * 2 * 2 * 16


def test_any_arguments_and_any_result():
    x = torch.randn(3, 4)
    trace = trace_model(Loose(), ((x,), {"bias": torch.ones(4), "flip": True}))
    assert trace.problem is None
    assert [spec.name for spec in trace.root.inputs] == ["arg0", "bias"]
    assert [spec.name for spec in trace.root.outputs] == ["scores", "extras.hidden.0", "extras.hidden.1"]
    assert trace.node("parts").kind == "container"
    assert trace.root.own_flops == 2 * 3 * 4 * 2  # the functional call belongs to whoever makes it


def test_a_failing_forward_gives_the_trace_up_to_there():
    model = Broken()
    trace = trace_model(model, torch.randn(2, 4))
    assert trace.failed == "body.2"
    assert trace.problem is not None
    assert trace.problem.startswith("RuntimeError: ")
    assert trace.node("body.2").problem == trace.problem
    assert trace.node("body.2").inputs[0].shape == (2, 8)
    assert [trace.node(f"body.{i}").calls for i in range(4)] == [1, 1, 1, 0]
    assert trace.node("body.1").outputs[0].shape == (2, 8)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_an_error_that_is_caught_inside_is_no_failure():
    trace = trace_model(Careful(), torch.randn(2, 4))
    assert (trace.problem, trace.node("good").calls, trace.node("bad").outputs) == (None, 1, ())


def test_tracing_while_another_error_is_handled():
    try:
        raise ValueError("elsewhere")
    except ValueError:
        trace = trace_model(Stack(), IDS)
    assert trace.problem is None
    assert trace.node("up").outputs[0].shape == (2, 12, 30)


# -- spikes ------------------------------------------------------------------------------------------------------------


def counted_alike(model: PreTrainedModel) -> None:
    """Every figure of every spiking module is that of the energy report for the same batch."""
    trace = trace_model(model, IDS)
    report = measure_spikes(model, [IDS])
    firing = {node.path: node.spikes for node in trace.nodes if node.spikes is not None}
    assert list(firing) == [layer.name for layer in report.layers]
    same = {info.name for info in dataclasses.fields(SpikeFacts)} - {"pairs"}
    for layer in report.layers:
        facts = firing[layer.name]
        assert (facts.firing_rate, facts.silent_share) == (layer.firing_rate, layer.silent_share)
        assert {name: getattr(facts, name) for name in same} == {name: getattr(layer, name) for name in same}
    assert trace.firing_rate(0) == report.firing_rate
    for count in ("ac_unary", "ac_bitwise", "effective_macs", "dense_macs"):
        assert trace.spike_total(0, count) == report.total(count) > 0
    reading = energy_report(model, report).reading("unary")
    spent = sum(node.own_energy_pj or 0.0 for node in trace.nodes if node.spikes is not None)
    assert spent == pytest.approx(reading.layers_pj * report.tokens, rel=1e-12)


@pytest.mark.parametrize("attention", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_spikes_and_operations_are_those_of_the_energy_report(family: str, attention: bool):
    counted_alike(spikify(decoder(family, num_hidden_layers=1), SpikeSpec(attention=attention)))


@pytest.mark.parametrize(
    "fields",
    [
        *({"weight_bits": bits} for bits in (2, 3, 8, 16)),
        {"num_levels": 2, "num_steps": 4, "salient_fraction": 1.0},
        {"num_levels": 2, "signed": True, "num_steps": 1},
        {"num_levels": 256, "num_steps": 1},
        {"num_levels": 4, "num_steps": 3, "coding": "radix"},
        {"num_levels": 16, "num_steps": 4, "coding": "paper"},
        {"salient_fraction": 0.0},
        {"salient_fraction": 0.5, "ranges": "own", "saliency": "absmax"},
        {"include": ("*mlp*",), "weight_bits": 2},
    ],
    ids=lambda fields: " ".join(f"{name}={value}" for name, value in fields.items()),
)
def test_so_they_are_for_every_neuron(fields: dict[str, Any]):
    counted_alike(spikify(decoder("llama", num_hidden_layers=1), SpikeSpec(attention=True, **fields)))


def test_a_neuron_by_itself_in_ones_own_model():
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.neuron, self.head = GIF((6,), SpikeSpec()), nn.Linear(6, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.neuron(x))

    facts = trace_model(Own(), torch.randn(3, 6)).node("neuron").spikes
    assert facts is not None
    assert (facts.pairs, facts.ac_unary, facts.num_levels) == (18, 0, 16)
    assert facts.firing_rate is not None


def test_temporal_neurons_say_what_they_send():
    neuron = IntegerLIF(4)
    x = torch.randn(3, 5, 7) * 2
    sent = neuron(x)[0]
    facts = trace_model(nn.ModuleDict({"n": neuron})["n"], x).root.spikes
    assert facts is not None
    assert (facts.num_levels, facts.num_steps, facts.slots) == (5, 3, 105)
    assert facts.active_slots == int((sent != 0).sum())
    assert facts.unary_events == int(sent.sum())
    assert sum(facts.histogram) == facts.pairs == 35


@pytest.mark.parametrize("kind", [StepMode, StateLoop, Unrolled])
def test_steps_do_not_add_rows(kind: Any):
    traces = [trace_model(kind(steps), torch.rand(2, 6)) for steps in (1, 2, 4)]
    assert len({len(trace.nodes) for trace in traces}) == 1
    assert [trace.node("fc1").calls for trace in traces] == [1, 2, 4]
    assert [trace.node("fc1").calls_per_parent for trace in traces] == [1, 2, 4]
    assert traces[2].root.flops == 4 * traces[0].root.flops


def test_our_steps_do_not_add_rows_either():
    traces = [trace_model(spikify(decoder(), num_steps=steps), IDS) for steps in (1, 2, 4)]
    assert len({len(trace.nodes) for trace in traces}) == 1
    assert [trace.node("model.layers.0.mlp.up_proj").spikes.num_steps for trace in traces] == [1, 2, 4]


# -- the model afterwards ----------------------------------------------------------------------------------------------


def test_listeners_and_the_salient_choice_are_left_as_they_were():
    model = spikify(decoder()).train()
    heard: list[str] = []
    chosen = {name: module.salient.clone() for name, module in spiking_modules(model).items()}
    for module in spiking_modules(model).values():
        module.spike_listener = lambda own, code: heard.append(own.spike_name)
    trace_model(model, IDS)
    assert heard == list(chosen)
    assert all(module.spike_listener is not None and module.training for module in spiking_modules(model).values())
    assert all(torch.equal(module.salient, chosen[name]) for name, module in spiking_modules(model).items())
    assert all(int(module.forwards) == 0 for module in spiking_modules(model).values())


def test_seconds_and_memory_when_asked_for():
    model, x = nn.Sequential(nn.Linear(256, 1024), nn.Linear(1024, 8)), torch.randn(64, 256)
    assert trace_model(model, x).root.seconds is None
    trace = trace_model(model, x, timing=True, memory=True)
    assert trace.root.seconds > trace.node("0").seconds > 0
    assert trace.node("0").memory_bytes >= 64 * 1024 * 4
    assert trace.root.memory_bytes >= 64 * (1024 + 8) * 4
    assert trace_model(model.to("meta"), x, memory=True).root.memory_bytes == trace.root.memory_bytes


# -- large -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spiking", [False, True], ids=["float", "spiking"])
def test_llama_7b_opens_without_weights_in_seconds(spiking: bool):
    with torch.device("meta"):
        model: PreTrainedModel = build_model("spike-llama-7b")
    model = spikify(model) if spiking else model
    start = time.process_time()
    trace = trace_model(model, torch.zeros(1, 2048, dtype=torch.long))
    wire = json.dumps(to_wire(trace), separators=(",", ":"))
    seconds = time.process_time() - start
    assert trace.problem is None
    assert trace.root.parameters == 6_738_415_616
    products = (6_738_415_616 - 32000 * 4096 - 65 * 4096) * 2048 + 32 * 2 * 2048 * 2048 * 4096
    assert trace.root.macs == products
    assert len(wire) < 400_000
    assert seconds < 5
    assert (trace.node("model.layers.31.mlp.up_proj").spikes is not None) == spiking
    assert any("firing rates" in note for note in trace.notes) == spiking


def test_a_number_that_the_meta_device_does_not_have():
    class Asks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(x)[: int(x.sum())]

    trace = trace_model(Asks().to("meta"), torch.ones(2, 4))
    assert trace.problem is not None
    assert "trace the model on the CPU" in trace.problem
    assert trace.node("fc").calls == 1


def test_a_seventy_billion_shape_opens_too():
    with torch.device("meta"):
        model = build_model(
            "spike-llama-7b",
            overrides={
                "hidden_size": 8192,
                "num_hidden_layers": 80,
                "num_attention_heads": 64,
                "num_key_value_heads": 8,
                "intermediate_size": 28672,
            },
        )
    trace = trace_model(spikify(model), torch.zeros(1, 16, dtype=torch.long))
    assert trace.problem is None
    assert trace.root.parameters == 68_976_648_192
    assert len(json.dumps(to_wire(trace), separators=(",", ":"))) < 400_000


# -- other inputs ------------------------------------------------------------------------------------------------------


def test_a_text_with_its_tokenizer():
    def tokenizer(text: str, add_special_tokens: bool) -> dict[str, list[int]]:
        return {"input_ids": [ord(letter) % 20 for letter in text]}

    class Reader(Stack):
        def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
            return super().forward(input_ids)

    trace = trace_model(Reader(), "four words of text", tokenizer=tokenizer)
    assert (trace.tokens, trace.root.inputs[0].shape) == (18, (1, 18))
    with pytest.raises(ShapeError, match="token"):
        trace_model(Reader(), "", tokenizer=tokenizer)


@pytest.mark.filterwarnings("ignore")
def test_quantised_linears_count_their_products():
    from torch.ao.quantization import quantize_dynamic

    model = quantize_dynamic(nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 4)), {nn.Linear})
    trace = trace_model(model, torch.randn(3, 16))
    assert trace.problem is None
    assert trace.root.macs == 3 * (16 * 8 + 8 * 4)


def test_integer_products_count():
    class Integers(nn.Module):
        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return a @ b + torch._int_mm(a.to(torch.int8), b.to(torch.int8)) + (a @ b[:, 0])[:, None]

    a, b = torch.ones(32, 16, dtype=torch.int64), torch.ones(16, 8, dtype=torch.int64)
    assert trace_model(Integers(), (a, b)).root.macs == 2 * 32 * 16 * 8 + 32 * 16


def test_where_a_class_is_written():
    trace = trace_model(Stack(), IDS)
    text = Path(trace.root.file).read_text().splitlines()
    assert text[trace.root.line - 1] == "class Stack(nn.Module):"
    assert text[trace.root.forward_line - 1].lstrip().startswith("def forward")
    assert trace.root.signature == "(ids: Tensor) -> Tensor"
    assert trace.node("up").file.endswith("linear.py")
