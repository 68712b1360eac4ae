"""A module is picked in the tree, edited in a cell and in the editor, broken, mended, applied to a run, taken back."""

from __future__ import annotations

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.notebook import PANEL, Notebook, fits

SMALL = (
    "model.overrides.hidden_size=32",
    "model.overrides.intermediate_size=64",
    "model.overrides.num_hidden_layers=2",
    "data.seq_len=32",
    "data.max_train_tokens=60000",
    "data.max_validation_tokens=4000",
    "train.batch_size=4",
    "train.num_threads=1",
    "train.steps=100000",
    "monitor.spikes_every=50",
)
TRAIN = f"""
import darkit_nb as dk
from darkit_nb.widgets import CodeEditor, LiveCharts, ModelTree
run = dk.train(dk.load_config(overrides={[*SMALL, "name=edited"]!r}))
ModelTree(run)
"""
LIVE = """
import darkit_nb as dk, torch
from darkit_nb.widgets import CodeEditor
model = dk.spikify(dk.build_model("spike-llama-nano"))
editor = CodeEditor(model, torch.arange(48).reshape(1, 48), path="model.layers.1.mlp")
editor
"""
MLP = "model.layers.0.mlp"
OLD = "self.act_fn(self.gate_proj(x))"


def new_cell(notebook: Notebook) -> tuple[int, str]:
    """Place and text of the cell that was inserted, which is the active one."""
    inserted = "book.activeCell.model.sharedModel.source.startsWith('%%darkit')"
    notebook.page.wait_for_function(f"() => {{ {PANEL} return {inserted}; }}")
    found = notebook.page.evaluate(
        f"() => {{ {PANEL} return [book.activeCellIndex, book.activeCell.model.sharedModel.source]; }}"
    )
    return found[0], found[1]


def run_text(notebook: Notebook, index: int, text: str, *, may_fail: bool = False) -> Locator:
    """Write a text into a cell and run it."""
    notebook.page.evaluate(
        f"([index, text]) => {{ {PANEL} book.widgets[index].model.sharedModel.setSource(text); }}", [index, text]
    )
    return notebook.run_cell(index, may_fail=may_fail)


def code(editor: Locator) -> Locator:
    return editor.locator(".cm-content")


def replace_in(notebook: Notebook, editor: Locator, new: str) -> None:
    """Type over the line with the activation, as a person would."""
    line = editor.locator(".cm-line", has_text="down_proj = self.down_proj(")
    line.click()
    notebook.page.keyboard.press("Home")
    notebook.page.keyboard.press("Shift+End")
    notebook.page.keyboard.insert_text(f"down_proj = self.down_proj({new} * self.up_proj(x))")


@pytest.mark.slow
def test_a_running_training_is_edited_in_a_cell_and_in_the_editor(notebook: Notebook):
    tree = notebook.run(TRAIN)
    row = tree.locator(f'.mt-row[data-path="{MLP}"]')
    expect(row).to_be_visible()
    row.click()
    tree.get_by_role("button", name="Edit in a new cell").click()
    index, cell = new_cell(notebook)
    assert cell.startswith("%%darkit patch run.model.layers[0].mlp\nclass LlamaMLP(nn.Module):\n")

    broken = run_text(notebook, index, cell.replace(OLD, "torch.tahn(self.gate_projj(x))"), may_fail=True)
    report = broken.locator(".dk-edit-report")
    expect(report).to_contain_text("Not applied")
    expect(report).to_contain_text("cell line 14")
    expect(broken).not_to_contain_text("Traceback")
    mended = run_text(notebook, index, cell.replace(OLD, "torch.tanh(self.gate_proj(x))"))
    expect(mended.locator(".dk-edit-report")).to_contain_text("Edit 2 applied to 1 module after step")
    notebook.screenshot("edit-cell", mended)
    charts = notebook.run("LiveCharts(run)")
    expect(charts.locator(".js-plotly-plot").first).to_contain_text("edit 2")

    editor = notebook.run(f"editor = CodeEditor(run, path={MLP!r})\neditor")
    expect(code(editor)).to_contain_text("torch.tanh")
    replace_in(notebook, editor, "torch.sigmod(self.gate_proj(x))")
    notebook.page.keyboard.press("Control+Enter")
    expect(editor.locator(".ce-results")).to_contain_text("Not applied: 1 problem")
    editor.locator(".ce-line").first.click()
    expect(code(editor)).to_be_focused()
    replace_in(notebook, editor, "torch.sigmoid(self.gate_proj(x))")
    notebook.page.keyboard.press("Control+Enter")
    expect(editor.locator(".ce-results")).to_contain_text("applied to 1 module")
    expect(charts.locator(".js-plotly-plot").first).to_contain_text("edit 4")
    notebook.screenshot("edit-chart")  # the page: a chart that moves is never still
    editor.get_by_role("tab", name="history").click()
    past = editor.locator(".ce-history li")
    expect(past).to_have_count(2)
    expect(past.first).to_contain_text("step")
    past.first.get_by_role("button", name="Revert").click()
    expect(past.first).to_contain_text("reverted")
    editor.get_by_role("textbox", name="Name of the fork").fill("tanh-mlp")
    editor.get_by_role("button", name="Save as fork").click()
    expect(editor.locator(".ce-saved")).to_contain_text("1 edit saved in")
    assert (notebook.folder / "forks" / "tanh-mlp" / "fork.json").is_file()
    notebook.screenshot("edit-run-history", editor)
    assert notebook.printed("import sys; print('torch' in sys.modules)") == "False"
    notebook.run("run.stop(wait_s=30); print(run.state)")


def test_the_editor_of_a_live_model(notebook: Notebook):
    editor = notebook.run(LIVE)
    expect(code(editor)).to_contain_text("class LlamaMLP")
    replace_in(notebook, editor, "tarch.tanh(self.gate_proj(x))")
    expect(editor.locator(".cm-lint-marker-error")).to_have_count(1)
    expect(editor.locator(".cm-lintRange-error")).to_have_text("tarch")
    expect(editor.locator(".ce-found")).to_contain_text("line 13: The name 'tarch' is not defined")
    notebook.screenshot("edit-broken-light", editor)

    # Keys of JupyterLab stay out, Escape leaves, and completion asks the kernel.
    cells = notebook.cells.count()
    notebook.page.keyboard.press("End")
    notebook.page.keyboard.press("Enter")
    notebook.page.keyboard.type("x = torch.tan")
    expect(editor.page.locator(".cm-tooltip-autocomplete")).to_contain_text("tanh")
    notebook.page.keyboard.press("Escape")
    expect(editor.page.locator(".cm-tooltip-autocomplete")).to_have_count(0)
    expect(code(editor)).to_be_focused()
    for _ in range(len("x = torch.tan")):
        notebook.page.keyboard.press("Backspace")
    notebook.page.keyboard.press("Control+Shift+K")
    for key in ("d", "d", "Backspace", "Backspace"):
        notebook.page.keyboard.press(key)
    for _ in range(2):  # the first one may only close a list of completions
        notebook.page.keyboard.press("Escape")
    expect(editor.get_by_role("button", name="Apply")).to_be_focused()
    assert notebook.cells.count() == cells

    # What is written survives a reload of the page.
    notebook.page.wait_for_timeout(600)
    notebook.reload()
    editor = notebook.panel.locator(".jp-Cell-outputArea", has=notebook.page.locator(".ce")).first
    expect(code(editor)).to_contain_text("tarch.tanh")
    replace_in(notebook, editor, "torch.tanh(self.gate_proj(x))")
    editor.get_by_role("radio", name="Layers").check()
    editor.get_by_role("textbox", name="Layers, first:end as in Python").fill("0:2")
    expect(editor.locator(".ce-targets")).to_contain_text("2 modules")
    editor.get_by_role("button", name="Validate").click()
    expect(editor.locator(".ce-results")).to_contain_text("Checks passed")
    assert notebook.printed("print(len(editor.desk.history()))") == "0"
    editor.get_by_role("button", name="Apply").click()
    expect(editor.locator(".ce-results")).to_contain_text("Edit 1 applied to 2 modules")
    expect(editor.locator(".ce-count")).to_contain_text("+1 −1")
    editor.get_by_role("button", name="Changes").click()
    expect(editor.locator(".cm-deletedChunk")).to_contain_text("act_fn")
    notebook.screenshot("edit-changes-light", editor)

    editor.get_by_role("button", name="Edit in a new cell").click()
    index, cell = new_cell(notebook)
    assert index == 1
    assert cell.startswith("%%darkit patch model.model.layers[1].mlp\nclass LlamaMLP(nn.Module):\n")
    assert "torch.tanh" in cell

    editor.get_by_role("tab", name="neurons").click()
    form = editor.get_by_role("form", name="Neurons")
    form.get_by_label("Levels").fill("400")
    expect(form.get_by_role("alert")).to_contain_text("256 at most")
    form.get_by_label("Levels").fill("4")
    notebook.theme("dark")
    notebook.screenshot("edit-neurons-dark", editor)
    form.get_by_role("button", name="Apply 1 change").click()
    editor.get_by_role("tab", name="history 2").click()
    expect(editor.locator(".ce-history li").first).to_contain_text("num_levels=4 in 3 modules")
    notebook.screenshot("edit-history-dark", editor)
    notebook.size(420)
    editor.get_by_role("tab", name="code").click()
    fits(editor.locator(".ce"))
    notebook.screenshot("edit-narrow-dark", editor)
