"""A spiking model shows its tree through IPython's own formatter, and is in everything else what it was."""

from __future__ import annotations

import copy
import gc
import io
import pickle
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from IPython.core.formatters import DisplayFormatter
from torch import nn

from darkit_nb.spikify import load_model, spikify, unspikify
from darkit_nb.spikify.face import give_face
from tests.evaluate.models import decoder

IDS = torch.arange(6).view(1, 6)


def shown(model: nn.Module) -> dict[str, Any]:
    """What IPython makes of a model."""
    return DisplayFormatter().format(model)[0]


def is_tree(model: nn.Module, words: str = "SpikeLinear") -> bool:
    page = shown(model).get("text/html", "")
    return 'class="dk-tree"' in page and words in page


def test_a_model_made_spiking_shows_its_tree_and_unspikify_takes_it_away():
    model = decoder("llama")
    plain, attributes = repr(model), set(vars(model))
    assert list(shown(model)) == ["text/plain"]
    spikify(model)
    assert is_tree(model)
    assert shown(model)["text/plain"] == repr(model)
    unspikify(model)
    assert list(shown(model)) == ["text/plain"]
    assert repr(model) == plain
    assert not any("ipython" in name or "repr" in name for name in set(vars(model)) - attributes)


def test_the_classes_are_left_alone():
    spikify(decoder("llama"))
    other = decoder("llama")
    assert list(shown(other)) == ["text/plain"]
    assert not hasattr(type(other), "_repr_html_")


def test_any_module_does():
    model = spikify(nn.Sequential(nn.Linear(4, 4)), attention=False)
    assert is_tree(model)


@pytest.fixture(scope="module")
def llama() -> Any:
    return spikify(decoder("llama")).eval()


def test_copies_and_pickles_show_themselves(llama):
    stream = io.BytesIO()
    torch.save(llama, stream)
    stream.seek(0)
    for other in (
        copy.deepcopy(llama),
        pickle.loads(pickle.dumps(llama)),  # noqa: S301 - our own
        torch.load(stream, weights_only=False),
    ):
        other.lm_head = nn.Identity()  # so that it can be told from the original
        assert is_tree(other, "Identity")
        assert torch.equal(llama(IDS).logits, llama(IDS).logits)
    assert not is_tree(llama, "Identity")


def test_a_saved_model_shows_itself_again(llama, tmp_path: Path):
    llama.save_pretrained(tmp_path)
    assert not any("repr" in name for name in llama.state_dict())
    loaded = load_model(tmp_path)
    assert is_tree(loaded)
    assert torch.equal(loaded(IDS).logits, llama(IDS).logits)


def test_a_compiled_model_runs_and_shows_itself():
    model = nn.Sequential(nn.Linear(4, 4))  # the checks of shapes in tests do not let spikes be compiled
    give_face(model)
    compiled: Any = torch.compile(model, backend="eager", fullgraph=True)
    assert torch.equal(compiled(torch.ones(1, 4)), model(torch.ones(1, 4)))
    assert is_tree(compiled, "Sequential")


def test_a_model_nobody_holds_goes_at_once():
    gc.disable()
    try:
        model = spikify(nn.Sequential(nn.Linear(4, 4)), attention=False)
        gone = weakref.ref(model)
        del model
        assert gone() is None
    finally:
        gc.enable()


def test_showing_changes_nothing(llama):
    llama.train()
    before, attributes = {name: value.clone() for name, value in llama.state_dict().items()}, set(vars(llama))
    random = torch.random.get_rng_state()
    assert is_tree(llama)
    assert all(torch.equal(value, before[name]) for name, value in llama.state_dict().items())
    assert (set(vars(llama)), llama.training) == (attributes, True)
    assert torch.equal(torch.random.get_rng_state(), random)
    llama.eval()


TERMINAL = """
from IPython.terminal.interactiveshell import TerminalInteractiveShell
shell = TerminalInteractiveShell.instance(colors="NoColor", simple_prompt=True)
shell.run_cell("from torch import nn; from darkit_nb.spikify import spikify", store_history=False)
shell.run_cell("spikify(nn.Sequential(nn.Linear(4, 4)), attention=False)", store_history=False)
"""


def test_in_a_terminal_the_plain_text_stays(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-c", TERMINAL],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "", "HOME": str(tmp_path), "IPYTHONDIR": str(tmp_path)},
    )
    assert "Sequential(\n  (0): SpikeLinear(" in done.stdout
    assert "dk-tree" not in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
