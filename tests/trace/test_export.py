"""Drawings through torchview and Graphviz, and what is said where they cannot be had."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from darkit_nb.errors import ModelError
from darkit_nb.trace.export import draw_model
from tests.conftest import need
from tests.evaluate.models import decoder
from tests.trace.kept import Restless, same, state_around, state_of
from tests.trace.models import Broken, SmallResNet


def test_svg_and_pdf(tmp_path: Path):
    need("dot", shutil.which("dot") is not None, "Graphviz is not installed")
    svg = draw_model(SmallResNet(), torch.randn(1, 3, 32, 32), tmp_path / "net.svg")
    assert "Residual" in svg.read_text()
    pdf = draw_model(decoder("llama"), torch.zeros(1, 5, dtype=torch.long), tmp_path / "net.pdf", depth=2)
    assert pdf.read_bytes().startswith(b"%PDF")


def test_the_text_needs_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    model = nn.Sequential(nn.Linear(4, 3), nn.Dropout()).train()
    text = draw_model(model, torch.randn(2, 4), tmp_path / "net.dot").read_text()
    assert "Linear" in text
    assert model.training
    with pytest.raises(ModelError, match="apt install graphviz"):
        draw_model(model, torch.randn(2, 4), tmp_path / "net.svg")


@pytest.mark.parametrize(("name", "said"), [("net.gif", "no such format"), ("net", "no such format")])
def test_other_endings(name: str, said: str, tmp_path: Path):
    with pytest.raises(ModelError, match=said):
        draw_model(SmallResNet(), torch.randn(1, 3, 32, 32), tmp_path / name)


def test_a_model_that_fails(tmp_path: Path):
    with pytest.raises(ModelError, match="torchview cannot follow Broken"):
        draw_model(Broken(), torch.randn(2, 4), tmp_path / "net.dot")


def test_model_and_inputs_are_left_as_they_were(tmp_path: Path):
    model, x = Restless().train(), torch.randn(3, 4)
    before, around, given = state_of(model), state_around(), x.clone()
    draw_model(model, x, tmp_path / "net.dot")
    assert same(before, state_of(model))
    assert same(around, state_around())
    assert torch.equal(x, given)


def test_a_lazy_module_still_waits(tmp_path: Path):
    model = nn.Sequential(nn.LazyLinear(3), nn.ReLU())
    assert "Linear" in draw_model(model, torch.randn(2, 4), tmp_path / "net.dot").read_text()
    assert isinstance(model[0], nn.LazyLinear)
