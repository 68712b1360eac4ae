"""A model is chosen, planned, converted, stopped, resumed, looked into and compared, as a person does it."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.notebook import Notebook, fits

FAKE = """
import sys; sys.path.insert(0, {root!r})
from pathlib import Path
from tests.widgets.conversions import written
for pipeline in ("rtn", "quarot", "darkit"):
    written(Path("converted"), pipeline)
written(Path("converted"), "gptq", done=2, state="stopped")
"""
PANEL = """
from darkit_nb.widgets import ConvertPanel
panel = ConvertPanel({given})
panel
"""
WHOLE_WORDS = """(box) => [...box.querySelectorAll(".dk-word")].every((word) => word.getClientRects().length === 1)
    && box.textContent.includes("--pipeline")"""


def tab(panel: Locator, name: str) -> None:
    panel.get_by_role("tab", name=name, exact=True).click()


def panel_of(notebook: Notebook, given: str = "") -> Locator:
    panel = notebook.run(PANEL.format(given=given))
    expect(panel.locator(".cv")).to_be_visible()
    return panel


def test_choosing_looking_and_comparing(notebook: Notebook, pytestconfig: pytest.Config):
    notebook.run(FAKE.format(root=str(pytestconfig.rootpath)))
    panel = panel_of(notebook)
    tab(panel, "Set up")
    command = panel.get_by_label("command that does exactly this", exact=True)
    expect(command).to_contain_text(
        "darkit-nb convert stdlib-llama converted/stdlib-llama-darkit-w4a4 --pipeline darkit"
    )
    expect(panel.get_by_text("Llama · 5 blocks of width 128")).to_be_visible()
    notebook.size(1280, 1100)
    notebook.screenshot("convert-setup-light", panel.locator(".cv"))

    panel.get_by_label("Compare with rtn", exact=True).click()
    panel.get_by_label("Compare with quarot", exact=True).click()
    expect(command).to_contain_text("--compare rtn,quarot")
    expect(panel.get_by_role("button", name="Start 3 conversions")).to_be_enabled()
    expect(panel.get_by_label("Compare with darkit", exact=True)).to_be_disabled()
    notebook.screenshot("convert-compare-light", panel.locator(".cv"))
    panel.get_by_role("radio", name="darkit").focus()
    notebook.page.keyboard.press("ArrowUp")
    expect(panel.get_by_role("radio", name="flatquant")).to_be_focused()
    expect(command).to_contain_text("--pipeline flatquant --compare rtn,quarot")
    panel.get_by_role("radio", name="W4A4").focus()
    notebook.page.keyboard.press("ArrowRight")
    expect(panel.get_by_role("radio", name="W4A8")).to_be_focused()
    expect(command).to_contain_text("--pipeline flatquant --bits W4A8 --compare rtn,quarot")
    for name in ("rtn", "quarot"):
        panel.get_by_label(f"Compare with {name}", exact=True).click()
    expect(panel.get_by_role("button", name="Start conversion")).to_be_enabled()

    panel.get_by_role("radio", name="spikellm-omniquant").click()
    expect(panel.locator(".cv-steps > li", has_text="Train")).to_contain_text("20 epochs a block")
    panel.get_by_role("radio", name="ternary", exact=True).click()
    expect(panel.locator(".cv-facts[data-bad=true]")).to_contain_text("no additive form")
    expect(panel.get_by_role("button", name="Start conversion")).to_be_disabled()
    panel.get_by_role("radio", name="W6A6").click()
    expect(command).to_contain_text("--bits W6A6")
    panel.get_by_role("button", name="All settings").click()
    panel.get_by_role("textbox", name="Sequences").fill("many")
    expect(panel.locator('[data-key="samples"] .dk-setting-hint')).to_contain_text("integer")
    expect(panel.get_by_role("button", name="Start conversion")).to_be_disabled()
    panel.get_by_role("textbox", name="Sequences").fill("16")
    expect(command).to_contain_text("samples=16")
    expect(panel.locator(".cv-settings")).to_contain_text("1 changed")
    panel.get_by_role("textbox", name="Windows").fill("8")
    panel.get_by_role("textbox", name="Tokens of a window").fill("128")
    expect(command).to_contain_text("--windows 8 --window 128 samples=16")
    assert command.evaluate(WHOLE_WORDS)
    panel.get_by_role("combobox", name="Model").fill("/nowhere")
    expect(panel.locator(".cv-source .dk-error")).to_contain_text("There is no model in '/nowhere'")
    expect(panel.locator(".cv-source .dk-error")).to_contain_text("stdlib-llama is there without a network")
    panel.get_by_role("combobox", name="Model").fill("stdlib-llama")
    panel.get_by_role("tab", name="Python").click()
    expect(panel.get_by_label("Python that does the same", exact=True)).to_contain_text("samples=16")

    tab(panel, "Watch")
    expect(panel.locator(".cv-course-text")).to_contain_text("2 of 4 blocks")
    expect(panel.locator(".cv-bar")).to_have_count(2)
    expect(panel.locator(".cv-ghost")).to_have_count(2)
    panel.locator(".cv-slot").nth(1).hover()
    expect(panel.locator(".cv-reading")).to_contain_text("block 1: 0.80 %")
    zero = panel.locator(".cv-watch .cv-tick").get_by_text("0 %", exact=True)
    expect(zero).to_have_count(1)
    panel.get_by_label("Scale of the errors").select_option("logarithmic")
    expect(zero).to_have_count(0)
    expect(panel.get_by_role("button", name="Results")).to_be_enabled()  # of what is done
    expect(panel.get_by_role("button", name="Resume")).to_be_enabled()
    panel.get_by_label("Conversion shown").select_option(label="stdlib-llama → darkit W4A4 · finished")
    expect(panel.locator(".cv-bar")).to_have_count(4)
    notebook.screenshot("convert-watch-light", panel)

    tab(panel, "Results")
    expect(panel.locator(".cv-point")).to_have_count(3)
    expect(panel.locator(".cv-interval")).to_have_count(3)
    expect(panel.get_by_label("rtn", exact=True)).to_be_disabled()  # it is there
    expect(panel.get_by_role("button", name="Convert", exact=True)).to_be_disabled()
    panel.get_by_label("gptq", exact=True).click()  # was stopped, and may be tried again
    expect(panel.get_by_role("button", name="Convert", exact=True)).to_be_enabled()
    rows = panel.locator(".cv-table tbody tr")
    expect(rows).to_have_count(5)
    expect(rows.nth(0)).to_contain_text("stdlib-llama (float)")
    expect(rows.nth(1)).to_contain_text("darkit W4A4")
    expect(rows.nth(1)).to_contain_text("+0.016 ± 0.005")
    panel.get_by_role("combobox", name="Δ bits/byte against").select_option("quarot W4A4")
    expect(rows.nth(1)).to_contain_text("−0.0075 ± 0.0000")
    expect(rows.nth(2)).to_contain_text("reference")
    expect(panel.get_by_role("button", name="darkit W4A4: −0.0075 ± 0.0000 bits/byte against quarot")).to_be_visible()
    notebook.screenshot("convert-against-light", panel.locator(".cv"))
    panel.get_by_role("combobox", name="Δ bits/byte against").select_option("float")
    panel.get_by_role("button", name="Delete gptq W4A4").click()
    sure = panel.get_by_role("alertdialog", name="Delete gptq W4A4?")
    expect(sure.get_by_role("button", name="Keep")).to_be_focused()
    notebook.page.keyboard.press("Escape")
    expect(sure).to_have_count(0)
    expect(panel.get_by_role("button", name="Delete gptq W4A4")).to_be_focused()
    notebook.page.keyboard.press("Enter")
    notebook.screenshot("convert-delete-light", panel.locator(".cv"))
    sure.get_by_role("button", name="Delete").click()
    expect(rows).to_have_count(4)
    assert not (notebook.folder / "converted" / "gptq-w4a4.run").exists()
    expect(panel.locator(".cv-cell")).to_have_count(28)
    panel.get_by_role("button", name="rtn W4A4: +0.105 ± 0.010 bits/byte").click()
    expect(panel.locator(".cv-table tbody tr[aria-selected=true]")).to_contain_text("rtn W4A4")
    expect(panel.locator(".cv-chosen")).to_contain_text("rtn W4A4")
    panel.locator(".cv-cell").last.hover()
    expect(panel.locator(".cv-chosen .cv-reading")).to_contain_text("model.layers.3.mlp.down_proj")
    panel.get_by_label("What the colours show").select_option("spike steps")
    panel.get_by_label("What the chart shows across").select_option("stored bits of a weight")
    panel.get_by_role("button", name="darkit W4A4", exact=True).click()
    expect(panel.locator(".cv-point[data-chosen=true]")).to_have_attribute("aria-label", re.compile("^darkit W4A4"))
    panel.get_by_label("What the chart shows upwards").select_option("perplexity")
    expect(panel.locator(".cv-interval")).to_have_count(0)
    panel.get_by_label("What the chart shows upwards").select_option("Δ bits/byte")
    notebook.size(1280, 1500)
    notebook.screenshot("convert-results-light", panel.locator(".cv"))

    notebook.theme("dark")
    notebook.screenshot("convert-results-dark", panel.locator(".cv"))
    notebook.size(400, 1900)
    for name in ("Set up", "Watch", "Results"):
        tab(panel, name)
        fits(panel.locator(".cv"))
        notebook.screenshot(f"convert-{name.split()[0].lower()}-narrow-dark", panel.locator(".cv"))
    assert notebook.printed("import sys; print('torch' in sys.modules)") == "False"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_whole_conversion(notebook: Notebook):
    panel = panel_of(notebook, "windows=8")
    panel.get_by_role("radio", name="quarot").click()
    panel.get_by_role("button", name="All settings").click()
    panel.get_by_role("textbox", name="Sequences").fill("8")
    panel.get_by_role("button", name="Plan", exact=True).click()
    expect(panel.locator(".cv-before .cv-tiles dd").first).to_have_text("5")
    panel.get_by_role("button", name="the plan in words").click()
    expect(panel.get_by_label("Plan in words")).to_contain_text("calibration: 8 × 256 tokens")
    notebook.size(1280, 1500)
    notebook.screenshot("convert-plan-light", panel.locator(".cv"))

    panel.get_by_role("button", name="Start conversion").dblclick()
    expect(panel.locator(".cv-bar").first).to_be_visible(timeout=240_000)
    panel.get_by_role("button", name="Stop").click()
    expect(panel.locator(".dk-chip")).to_have_text("stopped")
    done = panel.locator(".cv-bar").count()
    assert 1 <= done < 5
    notebook.screenshot("convert-stopped-light", panel.locator(".cv"))
    panel.get_by_role("button", name="Resume").click()
    expect(panel.locator(".cv-course-text")).to_contain_text("left for the blocks")
    expect(panel.locator(".dk-chip")).to_have_text("finished", timeout=400_000)
    expect(panel.locator(".cv-bar")).to_have_count(5)
    expect(panel.locator(".cv-tiles > div", has_text="taken over").locator("dd")).to_have_text(str(done))

    panel.get_by_role("button", name="Results").click()
    expect(panel.locator(".cv-point")).to_have_count(1)
    expect(panel.locator(".cv-table tbody tr")).to_have_count(2)  # a double click has started one conversion
    panel.get_by_label("rtn", exact=True).click()
    panel.get_by_role("button", name="Convert", exact=True).click()
    expect(panel.locator(".cv-table tbody tr", has_text="rtn W4A4")).to_be_visible()
    expect(panel.locator(".cv-point")).to_have_count(2, timeout=240_000)
    notebook.screenshot("convert-two-light", panel.locator(".cv"))
    panel.get_by_role("button", name="Open in model tree").click()
    expect(panel.locator('.mt-row[data-path="model.layers.0"]')).to_be_visible()
    panel.get_by_role("textbox", name="Beginning of a text").fill("def")
    write = panel.get_by_role("button", name="Let both write")
    write.dblclick()
    expect(panel.locator(".cv-pair pre[data-none=false][aria-busy=false]")).to_have_count(2, timeout=240_000)
    expect(panel.locator(".cv-written-facts").last).to_contain_text("fires")
    write.click()
    expect(write).to_have_attribute("aria-disabled", "true")
    panel.get_by_role("button", name="Stop").click()
    expect(panel.locator(".cv-pair pre[aria-busy=false]")).to_have_count(2, timeout=240_000)
    assert panel.locator(".cv-samples .dk-error").count() == 0
    notebook.screenshot("convert-done-light", panel)

    # Another kernel and another page find everything again, and the picture is there without any.
    notebook.save()
    notebook.restart_kernel()
    again = panel_of(notebook, "windows=8")
    tab(again, "Results")
    expect(again.locator(".cv-point")).to_have_count(2)
    again.get_by_role("button", name="quarot W4A4", exact=True).click()
    expect(again.locator(".cv-cell")).to_have_count(35)
