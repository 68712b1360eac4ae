"""Every class of eight architectures, float and spiking: fetched, put back unchanged, and reverted."""

from __future__ import annotations

import copy
import inspect
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from darkit_nb.edit.apply import apply, make_patch, revert
from darkit_nb.edit.source import module_source
from tests.edit.zoo import ARCHITECTURES, build

ALL = [(name, spiking) for name in ARCHITECTURES for spiking in (False, True)]
QUICK = [("llama", True), ("gpt2", False), ("tagger", False), ("resnet", True)]


def classes_of(model: nn.Module) -> dict[type, str]:
    """The first path of every class of a model."""
    found: dict[type, str] = {}
    for path, module in model.named_modules():
        found.setdefault(type(module), path)
    return found


def trained(model: nn.Module, run) -> torch.optim.Optimizer:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    model.train()
    run(model).float().square().mean().backward()
    optimizer.step()
    model.eval()
    return optimizer


def state_of(optimizer: torch.optim.Optimizer) -> list[tuple[int, int]]:
    return [(id(each), id(optimizer.state[each]["exp_avg"])) for each in optimizer.state]


def put_back_unchanged(name: str, spiking: bool, folder: Path) -> None:
    model, run = build(name, spiking=spiking)
    optimizer = trained(model, run)
    expected, keys, state = run(model), list(model.state_dict()), state_of(optimizer)
    objects = dict(model.named_modules())
    held = {path: dict(vars(module)) for path, module in objects.items()}
    for kind, path in classes_of(model).items():
        source = module_source(model, path)
        apply(
            model, make_patch(model, path, source.text, targets=source.same_class), optimizer=optimizer, folder=folder
        )
        patched = type(objects[path])
        assert patched is not kind
        assert isinstance(objects[path], kind)
        assert inspect.getsource(patched) == source.text
        assert torch.equal(run(model), expected)
        assert list(model.state_dict()) == keys
        assert state_of(optimizer) == state
        assert torch.equal(run(copy.deepcopy(model)), expected)
        assert torch.equal(run(pickle.loads(pickle.dumps(model))), expected)  # noqa: S301 - our own
        revert(model, optimizer=optimizer)
        assert type(objects[path]) is kind
    own = {"_darkit_history"}
    for path, module in model.named_modules():
        assert module is objects[path]
        now = vars(module)
        assert set(now) - own - held[path].keys() <= {"hf_quantizer", "is_quantized", "quantization_method"}
        assert all(now[each] is value for each, value in held[path].items() if not isinstance(value, int | float))
    assert torch.equal(run(model), expected)


@pytest.mark.parametrize(("name", "spiking"), QUICK)
def test_every_class_goes_back_unchanged(name: str, spiking: bool, tmp_path: Path):
    put_back_unchanged(name, spiking, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "spiking"), [each for each in ALL if each not in QUICK])
def test_every_class_of_the_others_goes_back_unchanged(name: str, spiking: bool, tmp_path: Path):
    put_back_unchanged(name, spiking, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "spiking"), ALL)
def test_with_every_class_edited_at_once_it_compiles_saves_trains_and_comes_back(
    name: str, spiking: bool, tmp_path: Path
):
    command = [sys.executable, "-m", "tests.edit.edited_everywhere", name, str(spiking), tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_halved_output_reaches_the_compiled_model_and_leaves_it_again(tmp_path: Path):
    model, run = build("llama")
    compiled = torch.compile(model, backend="eager")
    expected = run(compiled)
    half = "class Half(LlamaMLP):\n    def forward(self, x):\n        return 0.5 * super().forward(x)\n"
    targets = module_source(compiled, "model.layers.0.mlp").same_class
    apply(compiled, make_patch(compiled, "model.layers.0.mlp", half, targets=targets), folder=tmp_path)
    assert not torch.allclose(run(compiled), expected, atol=1e-3)
    assert torch.allclose(run(compiled), run(model), atol=1e-5)
    revert(compiled)
    assert torch.allclose(run(compiled), expected, atol=1e-5)
