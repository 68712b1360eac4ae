from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from darkit_nb.edit.constructor import Place, constructor_arguments
from darkit_nb.errors import PatchError
from tests.edit.zoo import build


def found(model: nn.Module, path: str, **more) -> dict[str, object]:
    module = model.get_submodule(path)
    return constructor_arguments(Place(model, path, module), type(module), {}, **more)


class Child(nn.Module):
    def __init__(self, width: int, number: int, *, gain: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("table", torch.ones(width, number))
        self._gain = gain

    def forward(self, x: Tensor) -> Tensor:
        return x


SIZE = 3


class Parent(nn.Module):
    def __init__(self, scale: int, heads: int) -> None:
        super().__init__()
        self.scale, self.heads = scale, heads
        width = scale * SIZE if heads > 1 else None
        self.one = Child(width, heads, gain=2.0)
        self.many = nn.ModuleList([Child(width + 1, index) for index in range(heads)])
        self.row = nn.Sequential(nn.ReLU(), Child(heads, 9 - 1))
        self.called = Child(int("7"), 2)

    def forward(self, x: Tensor) -> Tensor:
        return x


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("model.layers.1", {"layer_idx": 1}),
        ("model.layers.1.self_attn", {"layer_idx": 1}),
        ("model.layers.0.self_attn.q_proj", {"in_features": 16, "out_features": 16, "bias": False}),
        ("model.layers.0.input_layernorm", {"hidden_size": 16, "eps": 1e-6}),
        ("model.embed_tokens", {"num_embeddings": 32, "embedding_dim": 16}),
    ],
)
def test_arguments_of_a_decoder_are_found(path: str, expected: dict[str, object]):
    model, _ = build("llama")
    arguments = found(model, path)
    assert {name: arguments[name] for name in expected} == expected
    assert "config" not in arguments or arguments["config"] is model.config


def test_a_spiking_layer_is_built_from_what_it_replaced():
    model, _ = build("llama", spiking=True)
    module = model.get_submodule("model.layers.0.mlp.up_proj")
    assert found(model, "model.layers.0.mlp.up_proj") == {"original": module._original, "spec": module.spec}


def test_arguments_that_a_base_takes_are_found():
    arguments = found(build("tagger")[0], "lstm")
    assert (arguments["input_size"], arguments["hidden_size"], arguments["bidirectional"]) == (6, 5, True)
    assert "mode" not in arguments


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("one", {"width": 6, "number": 2, "gain": 2.0}),
        ("many.1", {"width": 7, "number": 1, "gain": 1.0}),
        ("row.1", {"width": 2, "number": 8, "gain": 1.0}),
    ],
)
def test_the_line_of_the_parent_is_read(path: str, expected: dict[str, object]):
    assert found(Parent(2, 2), path) == expected


def test_nothing_is_called_to_find_an_argument():
    with pytest.raises(PatchError, match="arguments are not known") as caught:
        found(Parent(2, 2), "called")
    assert caught.value.received == "nothing for width"


def test_an_argument_that_is_not_taken_is_refused():
    model = Parent(2, 2)
    with pytest.raises(PatchError) as caught:
        constructor_arguments(Place(model, "one", model.one), Child, {"size": 1})
    assert caught.value.received == "unknown: size"


def test_the_line_of_the_parent_can_count_more_than_an_attribute():
    model, _ = build("opt")
    path = "model.decoder.embed_positions"
    assert (found(model, path)["num_embeddings"], found(model, path, line=True)["num_embeddings"]) == (18, 16)
