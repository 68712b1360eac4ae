"""A trace lets spiking layers multiply as they do unwatched, and says of their products what looking at them says."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from darkit_nb.nn import packed_weight
from darkit_nb.nn.linear import SpikeLinear
from darkit_nb.nn.packed_linear import PackedLinear, PackedSpikeLinear
from darkit_nb.records.spike_spec import SpikeSpec
from darkit_nb.trace import trace_model
from darkit_nb.trace.untouched import untouched
from tests.nn.test_packed_linear import quantised

X = torch.randn(2, 5, 63)


class Turn(nn.Linear):
    """Mixes features by a product of its own."""

    def __init__(self) -> None:
        super().__init__(63, 63, bias=False)


def layers() -> dict[str, nn.Module]:
    spec = SpikeSpec()
    return {
        "spiking": SpikeLinear(nn.Linear(63, 12), spec),
        "packed": PackedSpikeLinear.from_weight(quantised(), torch.randn(12), spec),
        "packed, mixed": PackedSpikeLinear.from_weight(quantised(), None, spec, rotation=Turn()),
        "packed, of floats": PackedLinear.from_weight(quantised(), None),
        "packed, of floats, mixed": PackedLinear.from_weight(quantised(), None, Turn()),
        "reference": PackedSpikeLinear.from_weight(quantised(), None, SpikeSpec(backend="reference")),
    }


@pytest.mark.parametrize("kind", layers())
def test_the_products_are_those_of_the_shapes(kind: str):
    model = nn.Sequential(layers()[kind], nn.Linear(12, 3)).eval()
    trace = trace_model(model, X)
    assert trace.problem is None
    assert trace.node("0").own_flops == 2 * 10 * 63 * 12
    assert trace.node("1").own_flops == 2 * 10 * 12 * 3
    mixing = 2 * 10 * 63 * 63 if "mixed" in kind else 0
    assert trace.root.flops == 2 * 10 * (63 * 12 + 12 * 3) + mixing


def test_no_weight_is_unpacked_again(monkeypatch: pytest.MonkeyPatch):
    model = nn.Sequential(layers()["packed"]).eval()
    unpacked: list[int] = []
    real = packed_weight.unpack_codes
    monkeypatch.setattr(packed_weight, "unpack_codes", lambda *given: unpacked.append(1) or real(*given))
    with torch.no_grad():
        plain = model(X)
    once = len(unpacked)
    assert once > 0
    for _ in range(2):
        trace_model(model, X)
    assert len(unpacked) == once
    with torch.no_grad():
        assert torch.equal(model(X), plain)
    assert len(unpacked) == once


def test_an_edited_class_is_looked_at():
    class Twice(PackedSpikeLinear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) + super().forward(x)

    model = nn.Sequential(layers()["packed"]).eval()
    model[0].__class__ = Twice
    assert trace_model(model, X).root.flops == 2 * 2 * 10 * 63 * 12


def test_a_failure_inside_leaves_no_mode_behind():
    class Fails(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise ValueError("not today")

    model = nn.Sequential(PackedSpikeLinear.from_weight(quantised(), None, SpikeSpec(), rotation=Fails())).eval()
    trace = trace_model(model, X)
    assert trace.failed == "0.rotation"
    assert not is_in_torch_dispatch_mode()
    again = trace_model(nn.Sequential(nn.Linear(63, 2)), X)
    assert again.root.flops == 2 * 10 * 63 * 2


def test_an_error_that_the_model_deals_with_is_counted_around():
    class Tries(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.spikes = layers()["packed"]
            self.after = nn.Linear(63, 4)

        def forward(self, x: torch.Tensor) -> Any:
            try:
                self.spikes(x[..., :7])
            except Exception:  # noqa: BLE001 - whatever it is
                return self.after(x)

    assert trace_model(Tries().eval(), X).root.flops == 2 * 10 * 63 * 4


def test_a_layer_in_training_lets_its_laid_out_weight_go():
    layer = SpikeLinear(nn.Linear(63, 12), SpikeSpec())
    model = nn.Sequential(layer).train()
    with untouched(model):
        model(X)
        assert layer._ready is not None
    assert layer._ready is None
    model.eval()
    with untouched(model):
        model(X)
    assert layer._ready is not None
