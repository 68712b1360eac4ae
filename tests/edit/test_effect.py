"""Before and after: measured on the live model, which is then as it was."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from darkit_nb.edit.apply import history, make_patch
from darkit_nb.edit.effect import measure_effect
from darkit_nb.edit.validate import validate
from tests.edit.zoo import build

TOKENS = torch.arange(14).view(2, 7)
SILENT = "class LlamaMLP(LlamaMLP):\n    def forward(self, x):\n        return super().forward(0 * x)\n"


def test_a_spiking_model_is_measured_in_everything(tmp_path: Path):
    model = build("llama", spiking=True)[0]
    before = {name: each.clone() for name, each in model.state_dict().items()}
    with torch.no_grad():
        logits = model(TOKENS).logits
    effect = measure_effect(model, make_patch(model, "model.layers.0.mlp", SILENT), TOKENS, rounds=2, folder=tmp_path)
    assert effect["tokens"] == 14
    assert set(effect["before"]) == set(effect["after"]) == {"loss", "firing_rate", "energy_pj", "tokens_per_s"}
    assert effect["after"]["firing_rate"] < effect["before"]["firing_rate"]
    assert effect["after"]["energy_pj"] < effect["before"]["energy_pj"]
    expected = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), TOKENS[:, 1:].flatten())
    assert effect["before"]["loss"] == pytest.approx(float(expected))
    assert 0 < effect["mean_change"] <= effect["largest_change"]
    assert history(model) == ()
    assert all(torch.equal(each, before[name]) for name, each in model.state_dict().items())


def test_an_edit_that_changes_nothing_has_no_effect_on_the_numbers(tmp_path: Path):
    model = nn.Sequential(nn.Linear(3, 3))
    text = "class Linear(Linear):\n    def forward(self, input):\n        return super().forward(input)\n"
    effect = measure_effect(model, make_patch(model, "0", text), torch.rand(4, 3), rounds=1, folder=tmp_path)
    assert (effect["tokens"], effect["largest_change"], effect["mean_change"]) == (4, 0.0, 0.0)
    assert set(effect["before"]) == {"tokens_per_s"}


def test_a_validation_measures_only_what_passed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    model = build("llama")[0]
    good = validate(model, make_patch(model, "model.layers.0.mlp", SILENT), inputs=TOKENS, effect=True)
    assert good.ok is False  # no gradient reaches what is multiplied by zero
    assert good.effect is None
    doubled = make_patch(model, "model.layers.0.mlp", SILENT.replace("0 * x", "2 * x"))
    checked = validate(model, doubled, inputs=TOKENS, effect=True)
    assert checked.effect is not None
    assert checked.effect["before"]["loss"] != checked.effect["after"]["loss"]
