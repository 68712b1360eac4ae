"""ModelTree as a person uses it: a spiking model opened, searched, sorted, read and drawn; 20 000 rows in time."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.notebook import Notebook
from tests.records.traces import large_trace

OPEN = """
import darkit_nb as dk, torch
from darkit_nb.widgets import ModelTree
model = dk.spikify(dk.build_model("spike-llama-nano"))
tree = ModelTree(model, torch.arange(48).reshape(1, 48))
tree
"""
LARGE = """
from pathlib import Path
from darkit_nb.records.trace import ModelTrace
from darkit_nb.widgets import ModelTree
tree = ModelTree(ModelTrace.from_json(Path("large.json").read_text()))
tree
"""
FAILS = """
class Broken(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Linear(9, 2))
    def forward(self, x):
        return self.inner(x)
ModelTree(Broken(), torch.ones(2, 4))
"""
# Milliseconds from an action to the first frame that shows what it did.
TIMED = """async (root, [selector, action, text]) => {
  const element = root.querySelector(selector);
  const start = performance.now();
  if (action === "type") { element.value = text; element.dispatchEvent(new Event("input", { bubbles: true })); }
  else element.click();
  await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  return performance.now() - start;
}"""

# Milliseconds of each frame while the rows are scrolled by a wheel, and then dragged to the end.
FRAMES = """async (box) => {
  const frames = [];
  let last = performance.now();
  const far = (box.scrollHeight - 40 * 240) / 20;
  for (let step = 0; step < 60; step++) {
    box.scrollTop += step < 40 ? 240 : far;
    await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
    frames.push(Math.round(performance.now() - last));
    last = performance.now();
  }
  return frames;
}"""


@pytest.fixture
def output(notebook: Notebook) -> Locator:
    """The output of a cell with the tree of a small spiking Llama."""
    shown = notebook.run(OPEN, timeout_s=120)
    expect(shown.locator(".mt-row").nth(1)).to_be_visible()
    return shown


def row(output: Locator, path: str) -> Locator:
    return output.locator(f'.mt-row[data-path="{path}"]')


def test_open_search_select_read_draw_export(notebook: Notebook, output: Locator):
    expect(output.locator(".mt-headline")).to_contain_text("LlamaForCausalLM on cpu · 48 tokens")
    search = output.get_by_role("searchbox", name="Search modules by name, class or shape")
    search.fill("spikelinear up_proj")
    expect(output.locator(".mt-row[data-found]")).to_have_count(4)
    expect(output.locator(".mt-count")).to_have_text("4 found")
    search.press("ArrowDown")
    expect(row(output, "")).to_be_focused()
    row(output, "model.layers.2.mlp.up_proj").click()
    assert notebook.run("print(tree.selected)").inner_text().strip() == "model.layers.2.mlp.up_proj"
    search.press("Escape")
    expect(row(output, "model.layers.2.mlp.up_proj")).to_be_visible()

    detail = output.locator(".mt-detail")
    rate = notebook.run("f = tree.trace.node(tree.selected).spikes\nprint(f'{100 * f.firing_rate:.2f} %')").inner_text()
    expect(detail.locator(".mt-firing")).to_contain_text(rate.strip())
    expect(detail.locator(".mt-histogram i").first).to_be_attached()
    detail.get_by_role("tab", name="source").click()
    expect(detail.locator("pre")).to_contain_text("class SpikeLinear(")
    expect(detail.locator("pre div[data-forward]")).to_contain_text("def forward")
    notebook.run("tree.selected = 'model.layers.1.mlp'")
    expect(detail.locator(".mt-path")).to_have_text("model.layers.1.mlp")
    expect(row(output, "model.layers.1.mlp")).to_be_in_viewport()
    expect(detail.locator("pre")).to_contain_text("class LlamaMLP(")
    detail.get_by_role("tab", name="dataflow").click()
    detail.get_by_role("button", name="Draw what flows in it").click()
    drawing = detail.locator(".mt-drawing svg")
    expect(drawing).to_contain_text("down_proj", timeout=60_000)
    expect(drawing).to_contain_text("1×48×512")
    before = drawing.bounding_box()
    detail.get_by_role("button", name="Larger").click()
    assert drawing.bounding_box()["width"] > before["width"]  # type: ignore[index]  # both are on the page
    with notebook.page.expect_download() as download:
        detail.get_by_role("button", name="Export SVG").click()
    assert download.value.suggested_filename == "model.layers.1.mlp.svg"
    assert Path(download.value.path()).read_text().startswith("<svg")
    drawing.locator('[data-path="model.layers.1.mlp.gate_proj"]').click()
    expect(detail.locator(".mt-path")).to_have_text("model.layers.1.mlp.gate_proj")


def test_keys_filters_sorting_and_looks(notebook: Notebook, output: Locator):
    output.get_by_role("button", name="Collapse all").click()
    expect(output.locator(".mt-body .mt-row")).to_have_count(1)
    row(output, "").focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowRight", "ArrowDown", "ArrowDown"):
        notebook.page.keyboard.press(key)
    expect(row(output, "model.layers")).to_be_focused()
    for key in ("ArrowRight", "ArrowRight", "*", "End"):
        notebook.page.keyboard.press(key)
    expect(row(output, "lm_head")).to_be_focused()
    expect(row(output, "model.layers.3.mlp")).to_be_visible()
    notebook.page.keyboard.press("Home")
    expect(row(output, "")).to_be_focused()
    notebook.page.keyboard.press("Enter")
    expect(output.locator(".mt-path")).to_have_text("LlamaForCausalLM")
    notebook.page.keyboard.press("Escape")
    expect(output.locator(".mt-detail")).to_have_count(0)

    output.get_by_role("button", name="spiking", exact=True).click()
    assert {"spiking"} == set(
        output.locator(".mt-row[data-found]").evaluate_all("(all) => all.map((one) => one.dataset.look)")
    )
    output.get_by_role("columnheader", name=re.compile("energy")).get_by_role("button").click()
    expect(output.get_by_role("columnheader", name=re.compile("energy"))).to_have_attribute("aria-sort", "descending")
    names = output.locator('.mt-row[aria-level="6"] .mt-label').all_inner_texts()
    assert set(names[:3]) == {"gate_proj", "up_proj", "down_proj"}
    output.get_by_role("button", name="spiking", exact=True).click()
    notebook.run("tree.selected = 'model.layers.1.mlp.up_proj'")
    expect(output.locator(".mt-detail .mt-path")).to_have_text("model.layers.1.mlp.up_proj")
    notebook.screenshot("model-tree-light", output)
    notebook.theme("dark")
    notebook.screenshot("model-tree-dark", output)
    notebook.size(420)
    expect(output.get_by_role("columnheader", name="class")).to_have_count(0)
    overflow = output.locator(".mt").evaluate("(root) => root.scrollWidth - root.clientWidth")
    assert overflow <= 0
    notebook.screenshot("model-tree-narrow", output)


def test_a_failing_module_is_red_and_one_click_away(notebook: Notebook, output: Locator):
    broken = notebook.run(FAILS)
    alert = broken.get_by_role("alert").first
    expect(alert).to_contain_text("The forward failed in inner.1")
    alert.get_by_role("button", name="inner.1").click()
    expect(row(broken, "inner.1")).to_have_attribute("data-look", "failed")
    expect(broken.locator(".mt-problem")).to_contain_text("RuntimeError")
    broken.get_by_role("tab", name="source").click()
    row(broken, "").click()
    expect(broken.locator(".mt-source")).to_contain_text("torch.nn.Linear(9, 2)")  # of a notebook cell
    notebook.watch.allow("widget model not found")  # what ipywidgets says of any widget whose kernel is gone
    notebook.shut_down_kernel()
    notebook.reload()
    static = notebook.panel.locator(".dk-tree")
    expect(static.first).to_be_visible()
    expect(static.first).to_contain_text("LlamaForCausalLM on cpu")


def test_twenty_thousand_rows_answer_at_once(notebook: Notebook):
    (notebook.folder / "large.json").write_text(large_trace(20_000).to_json())
    output = notebook.run(LARGE)
    root = output.locator(".mt")
    expect(output.locator(".mt-row").nth(1)).to_be_visible()
    expand = root.evaluate(TIMED, ['.mt-tools button[title="Open every row"]', "click", ""])
    expect(output.get_by_role("treegrid")).to_have_attribute("aria-rowcount", "20001")
    assert output.locator(".mt-row").count() < 80
    one = root.evaluate(TIMED, ['.mt-row[data-path="layers.0"] .mt-twist', "click", ""])
    keys = [root.evaluate(TIMED, [".mt-search", "type", "spikelinear part"[:end]]) for end in range(1, 17)]
    expect(output.locator(".mt-count")).to_have_text("17 998 found".replace(" ", "\u202f"))
    sort = root.evaluate(TIMED, ['[role="columnheader"]:nth-child(2) button', "click", ""])
    frames = output.locator(".mt-scroll").evaluate(FRAMES)
    expect(output.locator('.mt-row[aria-rowindex="20001"]')).to_be_visible()
    times = {"expand all": expand, "one": one, "key": max(keys), "sort": sort, "frames": frames}
    print(times)
    assert max(expand, one) < 100
    assert sorted(keys)[-2] < 50  # one may meet another process on this machine
    assert sorted(frames[:40])[-3] < 100
