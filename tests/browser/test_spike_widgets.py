"""SpikeRaster and GenerateBox as a person uses them: pointer, keys, themes, a narrow window, a run that answers."""

from __future__ import annotations

import re

import numpy as np
import pytest
from playwright.sync_api import Locator, expect

from darkit_nb.config import RunConfig
from darkit_nb.runs.run import Run
from tests.browser.notebook import Notebook, fits
from tests.records.snapshots import layer, snapshot
from tests.train.conftest import TINY

NEXT = "model.layers.1.mlp.up_proj"
SHOW = """
from darkit_nb.records.snapshot import SpikeSnapshot
from darkit_nb.widgets import SpikeRaster
raster = SpikeRaster(SpikeSnapshot.load("a.safetensors"))
raster
"""


@pytest.fixture
def output(notebook: Notebook) -> Locator:
    """The output of a cell with a raster of nine tokens and a hundred features, in two layers."""
    quiet = layer(NEXT, tokens=9, features=100, counts=np.zeros((9, 100), np.uint8))
    tokens = ("def", " f", "(", "x", ")", ":", " re", "turn", " x")
    snapshot(layer(tokens=9, features=100), quiet, tokens=tokens).save(notebook.folder / "a.safetensors")
    shown = notebook.run(SHOW)
    expect(shown.locator(".sr-canvas")).to_have_count(3)
    return shown


COLOURED = """(canvas) => {
  const { data } = canvas.getContext("2d").getImageData(2, 2, canvas.width - 20, 200);
  const range = (at) => Math.max(...data.slice(at, at + 3)) - Math.min(...data.slice(at, at + 3));
  let found = 0;
  for (let at = 0; at < data.length; at += 4) if (data[at + 3] > 200 && range(at) > 60) found++;
  return (CONDITION) && { found };
}"""


def painted(canvas: Locator, condition: str) -> int:
    """Opaque, coloured pixels among the cells, once a condition of `found` holds: they are drawn a frame later."""
    seen = canvas.page.wait_for_function(COLOURED.replace("CONDITION", condition), arg=canvas.element_handle())
    return seen.json_value()["found"]


def test_a_dot_can_be_read_and_a_token_pinned(notebook: Notebook, output: Locator):
    canvas = output.locator(".sr-canvas").first
    painted(canvas, "found > 2000")
    canvas.hover(position={"x": 40, "y": 1})  # second token, feature 0
    readout = output.locator(".sr-readout")
    expect(readout).to_contain_text("token 2 ␣f")
    expect(readout).to_contain_text("feature 0 salient")
    expect(readout).to_contain_text("7 spikes = 7 in step 1, 0 in step 2")
    expect(readout).to_contain_text("membrane 7.00 θ")
    canvas.click(position={"x": 40, "y": 1})
    card = output.locator(".sr-token")
    expect(card).to_contain_text("Token 2 ␣f")
    assert card.locator("rect").count() == 31
    notebook.screenshot("spike-raster-light", output)
    canvas.press("Escape")
    expect(card).to_have_count(0)


def test_keys_move_zoom_and_pin(output: Locator):
    canvas = output.locator(".sr-canvas").nth(1)
    canvas.focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowDown"):
        canvas.press(key)
    readout = output.locator(".sr-readout")
    expect(readout).to_contain_text("token 3 (")
    expect(readout).to_contain_text("feature 1")
    canvas.press("Enter")
    expect(output.locator(".sr-token")).to_contain_text("Token 3 (")
    before = painted(canvas, "found > 0")
    for _ in range(4):
        canvas.press("+")
    painted(canvas, f"found !== {before}")
    canvas.press("0")
    canvas.press("Escape")
    canvas.hover(position={"x": 1, "y": 1})
    expect(readout).to_contain_text("token 1 def")


def test_layers_are_chosen_here_and_in_python(notebook: Notebook, output: Locator):
    canvas = output.locator(".sr-canvas").first
    output.locator(".sr-select").select_option(NEXT)
    expect(output.locator(".sr-rate")).to_have_text(re.compile(r"^0"))
    painted(canvas, "found === 0")  # silence is the page itself
    notebook.kernel_has(f"raster.layer == {NEXT!r}")
    notebook.run('raster.layer = "model.layers.0.mlp.up_proj"')
    painted(canvas, "found > 2000")
    expect(output.locator(".sr-bar[data-chosen=true]")).to_have_attribute("title", re.compile("layers.0"))


def test_dark_and_narrow(notebook: Notebook, output: Locator):
    canvas = output.locator(".sr-canvas")
    notebook.theme("dark")
    painted(canvas.first, "found > 2000")
    notebook.screenshot("spike-raster-dark", output)
    notebook.size(480, 1200)
    tops = [canvas.nth(index).bounding_box()["y"] for index in range(3)]  # type: ignore[index]
    assert tops == sorted(set(tops))  # one under the other
    fits(output.locator(".sr"))
    notebook.screenshot("spike-raster-narrow", output)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of three steps, finished."""
    from darkit_nb.train.launch import train

    folder = tmp_path_factory.mktemp("runs")
    small = {**TINY, "data.seq_len": 1024, "train.batch_size": 1, "train.steps": 3, "evaluation.windows": 1}
    return Run(train(RunConfig(runs_dir=str(folder)).replace(small), progress=False))


def test_a_run_reads_a_sentence_and_writes_on(notebook: Notebook, run: Run):
    output = notebook.run(
        f"import sys\nfrom darkit_nb.runs.run import Run\nrun = Run({str(run.root)!r})\n"
        "from darkit_nb.widgets import GenerateBox, SpikeRaster\nSpikeRaster(run)"
    )
    field = output.locator(".sr-sentence")
    expect(field).to_have_value("def hello(name):")
    field.press("Enter")
    expect(output.locator(".sr-canvas")).to_have_count(3)
    expect(output.locator(".sr-facts")).to_contain_text("16 tokens")
    field.fill("x" * 10_000)
    field.press("Enter")
    expect(output.locator(".dk-error")).to_contain_text("10,000 tokens")
    expect(output.locator(".dk-error")).to_contain_text("shorten the text")

    output = notebook.run("box = GenerateBox(run)\nbox")
    output.get_by_role("textbox", name="Prompt").fill("for i in ")
    tokens = output.get_by_label("Tokens")
    tokens.fill("0")
    output.get_by_role("button", name="Generate").click()
    expect(output.locator(".dk-error")).to_contain_text("max_new_tokens is out of range")
    tokens.fill("1000")
    output.get_by_label("Temperature").fill("0")  # drawn tokens may end the text before it can be stopped
    output.get_by_role("button", name="Generate").click()
    expect(output.locator(".gb-token").nth(3)).to_be_attached()
    output.get_by_role("button", name="Stop").click()
    expect(output.get_by_role("button", name="Stop")).to_have_attribute("aria-disabled", "true")
    expect(output.locator(".dk-caret")).to_have_count(0)
    output.locator(".gb-slot").nth(2).hover()
    expect(output.locator(".gb-readout")).to_contain_text("of its slots fired")
    expect(output.locator(".gb-readout")).to_contain_text("simulated")
    assert output.locator(".gb-token").count() < 1000
    notebook.screenshot("generate-box", output)
    assert notebook.printed("print(sorted({'torch', 'transformers'} & set(sys.modules)))") == "[]"
