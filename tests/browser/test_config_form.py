"""The configuration form as a person uses it, in a real JupyterLab."""

from __future__ import annotations

import base64
import json
import random
import re
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.notebook import Notebook, fits
from tests.runs.test_importing import MODEL, tensor_file, zip_of
from tests.train.conftest import TINY

SHOW = "from darkit_nb.widgets import ConfigForm\nform = ConfigForm()\nform"

DROP = """([form, name, content]) => {
    const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
    const data = new DataTransfer();
    data.items.add(new File([bytes], name));
    for (const kind of ["dragenter", "dragover", "drop"])
        form.dispatchEvent(new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true }));
}"""


@pytest.fixture
def form(notebook: Notebook) -> Locator:
    found = notebook.run(SHOW).locator(".dk-form")
    expect(found).to_be_visible()
    return found


def field(form: Locator, key: str) -> Locator:
    """The control of a setting."""
    return form.locator(f'[data-key="{key}"] :is(input, select)').first


def command(form: Locator) -> Locator:
    """What stands in the selected tab."""
    return form.locator(".dk-recipes .dk-code")


def python(notebook: Notebook, expression: str) -> str:
    """The value of an expression in the kernel, printed."""
    return notebook.printed(f"print({expression})")


def drop(notebook: Notebook, form: Locator, name: str, content: bytes) -> None:
    notebook.page.evaluate(DROP, [form.element_handle(), name, base64.b64encode(content).decode()])


def test_fields_errors_and_commands(notebook: Notebook, form: Locator) -> None:
    start = form.get_by_role("button", name="Start", exact=True)
    expect(start).to_be_enabled()
    before = start.bounding_box()
    field(form, "train.steps").fill("200")
    field(form, "train.batch_size").fill("0")
    field(form, "train.learning_rate").fill("quick")
    expect(form.locator('[data-key="train.batch_size"] .dk-setting-hint')).to_have_text("needs an integer 1 … 65 536")
    expect(field(form, "train.learning_rate")).to_have_attribute("aria-invalid", "true")
    expect(start).to_be_disabled()
    expect(form.locator(".dk-summary")).to_contain_text("Training: Batch size needs an integer 1 … 65 536")
    expect(form.locator(".dk-summary")).to_contain_text("1 more to mend")
    expect(command(form)).to_contain_text("as soon as every setting fits")
    assert start.bounding_box() == before, "an error moves the page"
    form.locator(".dk-summary .dk-link").click()
    expect(field(form, "train.batch_size")).to_be_focused()
    expect(form.locator('[data-key="train.batch_size"] .dk-help')).to_be_visible()
    field(form, "train.batch_size").fill("4")
    form.get_by_role("button", name=re.compile("Learning rate back")).click()
    expect(start).to_be_enabled()
    expect(command(form)).to_have_text("darkit-nb train train.steps=200 train.batch_size=4")
    assert start.bounding_box() == before
    form.get_by_role("switch").click()
    expect(command(form)).to_have_text("darkit-nb train spike=null train.steps=200 train.batch_size=4")
    expect(form.locator('[data-key="spike.num_levels"]')).to_have_count(0)
    assert python(notebook, "(form.config.spike, form.config.train.steps)") == "(None, 200)"
    form.get_by_role("tab", name="Python").click()
    expect(command(form)).to_contain_text('"train.batch_size": 4,')

    a_search_finds_what_is_folded_away(form)


def a_search_finds_what_is_folded_away(form: Locator) -> None:
    search = form.get_by_label("Find a setting by name or description")
    search.fill("gradient norm")
    expect(form.locator("[data-key]")).to_have_count(1)
    field(form, "train.clip_norm").fill("-1")
    search.fill("no such thing")
    expect(form.get_by_text("No setting matches")).to_be_visible()
    search.press("Escape")
    expect(form.locator('[data-key="train.clip_norm"]')).to_have_count(0)
    expect(form.get_by_role("region", name="Training")).to_contain_text("1 to mend")
    form.locator(".dk-summary .dk-link").click()  # reveals what is folded away
    expect(field(form, "train.clip_norm")).to_be_focused()


def test_the_keyboard_is_enough(notebook: Notebook, form: Locator) -> None:
    keys = notebook.page.keyboard
    form.get_by_label("Find a setting by name or description").focus()
    keys.press("Tab")
    keys.press("Enter")
    expect(form.get_by_role("menuitem").first).to_be_focused()
    keys.press("ArrowDown")
    keys.press("Enter")
    expect(form.get_by_role("button", name="Start from")).to_be_focused()
    expect(field(form, "train.steps")).to_have_value("450")
    keys.press("Tab")
    keys.press("Space")  # Undo
    expect(field(form, "train.steps")).to_have_value("1000")
    field(form, "model.preset").focus()
    keys.press("ArrowDown")
    expect(form.locator("li[role=option]").first).to_have_attribute("aria-selected", "true")
    keys.press("Escape")
    expect(form.locator("li[role=option]")).to_have_count(0)
    field(form, "model.preset").fill("opt-nano")
    keys.press("ArrowDown")
    keys.press("Enter")
    expect(field(form, "model.preset")).to_have_value("spike-opt-nano")
    form.get_by_role("switch").focus()
    keys.press("Space")
    expect(command(form)).to_have_text("darkit-nb train model.preset=spike-opt-nano spike=null")
    # Letters that are commands of JupyterLab belong to the field.
    field(form, "name").focus()
    keys.type("dd-a-b")
    expect(field(form, "name")).to_have_value("dd-a-b")
    expect(notebook.cells).to_have_count(1)
    form.get_by_role("tab", name="Train").focus()
    keys.press("ArrowRight")
    expect(command(form)).to_contain_text("darkit-nb generate latest --prompt 'def '")


def test_yaml_is_pasted_dropped_and_refused(notebook: Notebook, form: Locator) -> None:
    form.get_by_role("tab", name="YAML").click()
    expect(command(form)).to_contain_text("steps: 1000")
    form.get_by_role("button", name="Edit or paste…").click()
    box = form.get_by_label("Configuration as YAML")
    expect(box).to_be_focused()
    box.fill("train: {steps: 33}\nspike: {num_levels: 4}\n")
    form.get_by_role("button", name="Take these settings").click()
    expect(field(form, "train.steps")).to_have_value("33")
    expect(field(form, "spike.num_levels")).to_have_value("4")
    drop(notebook, form, "newer.yaml", b"schema: 2\nfuture: 1\n")
    expect(form.get_by_role("alert")).to_contain_text("pip install --upgrade darkit-nb")
    expect(field(form, "train.steps")).to_have_value("33")
    form.get_by_role("button", name="Dismiss this message").click()
    expect(form.get_by_role("alert")).to_have_count(0)
    drop(notebook, form, "mine.yml", b"train: {steps: 44}\n")
    expect(field(form, "train.steps")).to_have_value("44")
    form.get_by_role("button", name="Undo").click()
    expect(field(form, "train.steps")).to_have_value("33")
    drop(notebook, form, "picture.png", b"x")
    expect(form.get_by_role("alert")).to_contain_text("picture.png is neither YAML")

    form.get_by_role("button", name="Dismiss this message").click()
    the_saved_file_is_the_configuration(notebook, form)


def the_saved_file_is_the_configuration(notebook: Notebook, form: Locator) -> None:
    field(form, "train.steps").fill("77")
    expect(command(form)).to_contain_text("steps: 77")
    with notebook.page.expect_download() as saved:
        form.get_by_role("button", name="Save").click()
    saved.value.save_as(notebook.folder / "saved.yaml")
    assert python(notebook, "ConfigForm().load('saved.yaml')") == "None"
    assert "steps: 77" in (notebook.folder / "saved.yaml").read_text()


def test_an_archive_is_dropped_and_becomes_a_run(notebook: Notebook, form: Locator, tmp_path: Path) -> None:
    noise = random.Random(0).randbytes(4 * 800_000)  # several pieces: noise does not shrink
    weights = tensor_file(800_000)[: -len(noise)] + noise
    packed = zip_of(tmp_path / "model.zip", {**MODEL, "model.safetensors": weights}).read_bytes()
    assert len(packed) > 3 * 2**20
    drop(notebook, form, "bad.zip", packed[: 2**20])
    expect(form.get_by_role("alert")).to_contain_text("cannot be imported")
    form.get_by_role("button", name="Dismiss this message").click()
    drop(notebook, form, "Model of mine.zip", packed)
    expect(form.get_by_text("Imported as")).to_be_visible()
    assert re.search(r"-Model-of-mine-[0-9a-f]{4}$", python(notebook, "form.imported"))
    form.get_by_role("button", name="Train from its weights").click()
    expect(field(form, "model.path")).to_have_value(re.compile("checkpoints"))
    expect(form.get_by_text("Imported as")).to_have_count(0)
    assert [path.name for path in (notebook.folder / "runs").glob(".upload-*")] == []


def test_a_double_click_starts_one_run(notebook: Notebook, form: Locator) -> None:
    tiny = json.dumps({**TINY, "train.steps": 2, "train.device": "cpu"})
    notebook.run(f"import json\nform.values = json.loads({tiny!r})")
    expect(field(form, "train.steps")).to_have_value("2")
    form.get_by_role("button", name="Start", exact=True).dblclick()
    expect(form.get_by_role("button", name="Start", exact=True)).to_be_enabled()
    expect(form.get_by_role("alert")).to_have_count(0)
    notebook.run("from darkit_nb.runs.run import Run")
    assert python(notebook, "Run(form.run_id).wait().state") == "finished"
    runs = [path for path in (notebook.folder / "runs").iterdir() if (path / "config.yaml").is_file()]
    assert len(runs) == 1
    form.get_by_role("tab", name="Use").click()
    expect(command(form)).to_contain_text(f"darkit-nb generate {runs[0]}")


def test_a_reload_keeps_what_was_written(notebook: Notebook, form: Locator) -> None:
    field(form, "train.steps").fill("0")
    expect(form.get_by_role("button", name="Start", exact=True)).to_be_disabled()
    notebook.reload()
    again = notebook.panel.locator(".dk-form")
    expect(field(again, "train.steps")).to_have_value("0")
    expect(again.get_by_role("button", name="Start", exact=True)).to_be_disabled()
    field(again, "train.steps").fill("12")
    expect(command(again)).to_have_text("darkit-nb train train.steps=12")


def test_it_fits_the_window_in_both_themes(notebook: Notebook, form: Locator) -> None:
    field(form, "train.steps").fill("0")
    form.get_by_role("button", name="10 more").click()
    field(form, "spike.num_levels").fill("8")
    for theme in ("light", "dark"):
        notebook.theme("dark" if theme == "dark" else "light")
        for width in (1280, 380):
            notebook.size(width, 1400)
            for key in ("data.seq_len", "spike.coding", "train.steps"):
                field(form, key).focus()
                stays_inside(form, form.locator(f'[data-key="{key}"] .dk-help'))
            field(form, "data.tokenizer").click()
            stays_inside(form, form.locator(".dk-suggest-list"))
            notebook.page.keyboard.press("Escape")
            fits(form, slack=1)
            notebook.screenshot(f"config-form-{theme}-{width}", form)


def stays_inside(form: Locator, opened: Locator) -> None:
    """Nothing that opens sticks out to a side."""
    expect(opened).to_be_visible()
    outer, inner = form.bounding_box(), opened.bounding_box()
    assert outer is not None
    assert inner is not None
    assert inner["x"] >= outer["x"] - 1
    assert inner["x"] + inner["width"] <= outer["x"] + outer["width"] + 1
