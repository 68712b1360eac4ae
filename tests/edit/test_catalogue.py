"""Edits as people make them: the good take effect and are taken back exactly, the bad change nothing and name the line.

Each is a file in `catalogue`: a few `# key: value` lines, then the text. The line that a bad one is to be blamed for
ends in `# here`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from darkit_nb.edit.apply import apply, make_patch, revert
from darkit_nb.edit.trial import TrialSession
from darkit_nb.edit.validate import validate
from darkit_nb.nn.neuron import LIF
from tests.edit.zoo import build

CATALOGUE = Path(__file__).parent / "catalogue"
GOOD = sorted(path.stem for path in (CATALOGUE / "good").glob("*.txt"))
BAD = sorted(path.stem for path in (CATALOGUE / "bad").glob("*.txt"))
TOKENS = torch.arange(14).view(2, 7)


class Neurons(nn.Module):
    """A layer that fires for three steps."""

    def __init__(self) -> None:
        super().__init__()
        self.input, self.neuron, self.output = nn.Linear(6, 8), LIF(threshold=0.3), nn.Linear(8, 6)

    def forward(self, x: Tensor) -> Tensor:
        spikes, _ = self.neuron(self.input(x).expand(3, *x.shape[:-1], 8))
        return self.output(spikes.mean(0))


_KEPT = {"_darkit_history", "hf_quantizer", "is_quantized", "quantization_method"}
"""What a model remembers of its edits, and what saving them needs."""


@dataclass(frozen=True)
class Case:
    """An edit of the catalogue."""

    source: str
    facts: dict[str, str]

    @staticmethod
    def read(name: str) -> Case:
        text = (CATALOGUE / f"{name}.txt").read_text()
        heads = [line[2:].split(": ") for line in text.splitlines() if line.startswith("# ") and ": " in line]
        return Case(text, dict(heads))

    @property
    def target(self) -> str:
        return self.facts.get("target", "model.layers.0.mlp")

    @property
    def line(self) -> int:
        return next(number for number, line in enumerate(self.source.splitlines(), 1) if line.endswith("# here"))

    def names(self, key: str) -> set[str]:
        return {f"{self.target}.{name}" for name in self.facts.get(key, "").split()}


@pytest.fixture(scope="module")
def session() -> Iterator[TrialSession]:
    with TrialSession() as each:
        yield each


@pytest.fixture(scope="module")
def models() -> dict[str, tuple[nn.Module, Tensor]]:
    torch.manual_seed(0)
    neurons = Neurons(), torch.rand(2, 6)
    return {
        "float": (build("llama")[0], TOKENS),
        "spiking": (build("llama", spiking=True)[0], TOKENS),
        "neurons": neurons,
    }


def everything(model: nn.Module) -> dict[str, Any]:
    """All that an edit could change in a model, comparable."""
    hooks = [name for name in vars(nn.Module()) if "_hooks" in name]
    return {
        "tensors": {name: bytes(each.numpy().tobytes()) for name, each in model.state_dict().items()},
        "names": [name for name, _ in (*model.named_parameters(), *model.named_buffers())],
        "identity": [id(each) for each in model.parameters()],
        "modules": [(name, type(each), each.training, _attributes(each)) for name, each in model.named_modules()],
        "hooks": [len(vars(each)[name]) for each in model.modules() for name in hooks if vars(each)[name] is not None],
    }


def _attributes(module: nn.Module) -> list[str]:
    return sorted(name for name in vars(module) if name not in _KEPT)


def chance() -> Any:
    """Where the sources of random numbers stand."""
    _, keys, *rest = np.random.get_state(legacy=True)
    return bytes(torch.get_rng_state().numpy()), random.getstate(), bytes(keys), rest


@torch.no_grad()
def output(model: nn.Module, inputs: Tensor) -> Tensor:
    value = model(inputs)
    return value if isinstance(value, Tensor) else value.logits


@pytest.mark.parametrize("name", GOOD)
def test_a_good_edit_takes_effect_and_is_taken_back_exactly(
    name: str, models: dict[str, tuple[nn.Module, Tensor]], session: TrialSession, tmp_path: Path
):
    case = Case.read(f"good/{name}")
    model, inputs = models[case.facts.get("model", "float")]
    was, before, drawn = output(model, inputs), everything(model), chance()
    patch = make_patch(model, case.target, case.source)
    checked = validate(model, patch, inputs=inputs, session=session)
    assert checked.problems == ()
    assert (set(checked.new), set(checked.dropped)) == (case.names("new"), case.names("dropped"))
    assert everything(model) == before
    apply(model, patch, validation=checked, folder=tmp_path)
    assert chance() == drawn
    now = output(model, inputs)
    assert torch.allclose(was, now, atol=1e-6) == (case.facts.get("output") == "same")
    revert(model)
    assert everything(model) == before
    assert torch.equal(output(model, inputs), was)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_edit_changes_nothing_and_names_its_line(
    name: str, models: dict[str, tuple[nn.Module, Tensor]], session: TrialSession
):
    case = Case.read(f"bad/{name}")
    model, inputs = models[case.facts.get("model", "float")]
    before, drawn = everything(model), chance()
    patch = make_patch(model, case.target, case.source)
    checked = validate(
        model,
        patch,
        inputs=inputs,
        session=session,
        device=case.facts.get("device"),
        time_limit_s=float(case.facts.get("seconds", 20)),
        memory_limit_bytes=2**30,
    )
    assert not checked.ok
    first = checked.problems[0]
    assert (first.check, first.line) == (case.facts["check"], case.line), first
    assert first.message.endswith(".")
    assert first.fix
    assert everything(model) == before
    assert chance() == drawn


def test_there_are_twenty_of_each():
    assert min(len(GOOD), len(BAD)) >= 20
