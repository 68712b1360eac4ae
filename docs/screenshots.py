"""Takes the README's pictures of the Studio, of real runs in a real JupyterLab: `python -m docs.screenshots`.

Needs Chromium and about five minutes. The runs are trained for it: the demo's configuration, and the same with ternary
spikes.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Literal

from playwright.sync_api import Locator, expect, sync_playwright

from tests.browser.lab import Lab, launch
from tests.browser.notebook import Notebook

IMAGES = Path(__file__).parent / "images"
DEMO = """
import darkit_nb as dk
from darkit_nb.config.starting_points import STARTING_POINTS
demo = next(point for point in STARTING_POINTS if point.name == "demo").apply(dk.RunConfig(name="demo"))
dk.train(demo.replace({"train.steps": 300})).wait(); None
"""
TERNARY = """
ternary = demo.replace({"name": "ternary", "train.steps": 300, "spike.num_levels": 2, "spike.num_steps": 1,
                        "spike.salient_fraction": 0.0, "spike.signed": True})
run = dk.train(ternary)
while (run.status.step or 0) < 150: __import__("time").sleep(0.5)
"""

EDITOR = """
import darkit_nb as dk, torch
model = dk.spikify(dk.build_model("spike-llama-nano"))
editor = dk.widgets.CodeEditor(model, torch.arange(48).reshape(1, 48), path="model.layers.1.mlp")
editor.code = editor.code.replace("self.act_fn(self.gate_proj(x))", "torch.tanh(self.gate_proj(x))")
editor.pane.measure = True
editor.pane.apply()
editor.tree.selected = None
editor
"""


def page(studio: Locator, name: str) -> None:
    """Open a page of the Studio."""
    studio.get_by_role("tab", name=name, exact=True).click()
    studio.page.wait_for_timeout(1500)


def take(notebook: Notebook, studio: Locator, name: str, theme: Literal["light", "dark"]) -> None:
    """One picture of the Studio, its head on top."""
    notebook.theme(theme)
    notebook.page.wait_for_timeout(1500)
    studio.locator(".studio-bar").scroll_into_view_if_needed()
    studio.screenshot(path=IMAGES / f"{name}.png", animations="disabled")


def take_editor(notebook: Notebook) -> None:
    """The editor of modules after an edit, what it changed in place and measured."""
    notebook.size(1560, 1100)  # wide enough for the tree beside it
    editor = notebook.run(EDITOR, timeout_s=300)
    notebook.theme("light")
    editor.get_by_role("button", name="Changes").click()
    notebook.page.wait_for_timeout(1500)
    editor.screenshot(path=IMAGES / "edit.png", animations="disabled")


def main() -> None:
    """All of them."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as home, sync_playwright() as playwright:
        lab = Lab(Path(home))
        lab.start()
        browser = launch(playwright)
        try:
            context = browser.new_context(viewport={"width": 1220, "height": 1500}, reduced_motion="reduce")
            notebook = Notebook(lab, context, folder="spikes")
            notebook.run(DEMO, timeout_s=600)
            notebook.run(TERNARY, timeout_s=600)
            studio = notebook.run("studio = dk.Studio()\nstudio")
            expect(studio.locator(".js-plotly-plot").first).to_be_visible(timeout=30_000)
            studio.page.wait_for_timeout(4000)
            take(notebook, studio, "watch", "light")
            page(studio, "Spikes")
            box = studio.locator("textarea:visible").first
            box.fill("def spike(membrane, threshold):")
            box.press("Enter")
            expect(studio.locator("canvas:visible").first).to_be_visible(timeout=60_000)
            take(notebook, studio, "spikes", "dark")
            notebook.run("run.wait(); None", timeout_s=600)
            page(studio, "Generate")
            studio.get_by_role("button", name="Generate", exact=True).click()
            expect(studio.get_by_text("tokens/s").filter(visible=True).first).to_be_visible(timeout=60_000)
            studio.page.wait_for_timeout(15_000)
            take(notebook, studio, "generate", "light")
            page(studio, "Build")
            take(notebook, studio, "build", "light")
            page(studio, "Runs")
            for tick in studio.locator("table tbody tr:visible .rt-tick").all()[:2]:
                tick.click()
            studio.get_by_role("button", name="Compare").first.click()
            studio.page.wait_for_timeout(1000)
            take(notebook, studio, "runs", "dark")
            take_editor(Notebook(lab, context, folder="edit"))
        finally:
            browser.close()
            lab.close()


if __name__ == "__main__":
    main()
