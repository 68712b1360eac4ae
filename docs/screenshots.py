"""Takes the README's pictures of real runs and conversions in a real JupyterLab: `python -m docs.screenshots [NAME…]`.

Needs Chromium and about five minutes. Names: studio, editor, tree, convert; none takes all. For it the demo's
configuration is trained, once more with ternary spikes, and the bundled model is converted. DARKIT_PICTURE_RUNS names a
folder of runs, demo and ternary, that are shown instead of training them.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Locator, expect, sync_playwright

from tests.browser.lab import Lab, launch
from tests.browser.notebook import Notebook

IMAGES = Path(__file__).parent / "images"
RUNS = os.environ.get("DARKIT_PICTURE_RUNS")
DEMO = """
import darkit_nb as dk
from darkit_nb.config.starting_points import STARTING_POINTS
demo = next(point for point in STARTING_POINTS if point.name == "demo").apply(dk.RunConfig(name="demo"))
demo = demo.replace({"train.steps": 240, "train.max_seconds": None, "evaluation.every": 60, "monitor.spikes_every": 30})
dk.train(demo).wait(); None
"""
TERNARY = """
ternary = demo.replace({"name": "ternary", "spike.num_levels": 2, "spike.num_steps": 1,
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


STUDIO = """
from pathlib import Path
import darkit_nb as dk
demo, ternary = (dk.Run(max(Path("runs").glob(f"*-{{name}}-*"))) for name in ("demo", "ternary"))
studio = dk.Studio(run={watched})
studio
"""
TREE = """
import darkit_nb as dk, torch
tree = dk.widgets.ModelTree(dk.spikify(dk.build_model("spike-llama-nano")), torch.arange(48).reshape(1, 48))
tree.selected = "model.layers.0.mlp.down_proj"
tree
"""
CONVERT = """
from darkit_nb.widgets import ConvertPanel
panel = ConvertPanel("stdlib-llama", windows=32)
panel.set("samples", 32)
panel.compare = "rtn", "smoothquant", "gptq", "quarot"
converted = panel.start()
panel.wait()
panel.show(converted)
panel
"""


def page(studio: Locator, name: str) -> None:
    """Open a page of the Studio."""
    studio.get_by_role("tab", name=name, exact=True).click()
    studio.page.wait_for_timeout(1500)


def take(what: Locator, name: str) -> None:
    """One picture."""
    what.page.mouse.move(4, 4)  # nothing is pointed at
    what.page.wait_for_timeout(1500)
    what.screenshot(path=IMAGES / f"{name}.png", animations="disabled")


def take_studio(notebook: Notebook) -> None:
    """A training, its spikes, its text, the form, and two runs compared."""
    if RUNS:
        shutil.copytree(RUNS, notebook.folder / "runs")
    else:
        notebook.run(DEMO, timeout_s=600)
        notebook.run(TERNARY, timeout_s=600)
    studio = notebook.run(STUDIO.format(watched="demo" if RUNS else "ternary")).locator(".jupyter-widgets").first
    expect(studio.locator(".js-plotly-plot").first).to_be_visible(timeout=30_000)
    studio.page.wait_for_timeout(4000)
    if RUNS:
        studio.get_by_role("tab", name="Events", exact=True).click()  # those of a terminal have no log
    studio.locator(".studio-bar").scroll_into_view_if_needed()
    take(studio, "watch")
    notebook.run("studio.run = ternary")
    page(studio, "Spikes")
    box = studio.locator("textarea:visible").first
    box.fill("def spike(membrane, threshold):")
    box.press("Enter")
    expect(studio.locator("canvas:visible").first).to_be_visible(timeout=60_000)
    take(studio, "spikes")
    notebook.run("ternary.wait(); studio.run = demo", timeout_s=600)
    page(studio, "Generate")
    studio.get_by_role("button", name="Generate", exact=True).click()
    expect(studio.get_by_text("tokens/s").filter(visible=True).first).to_be_visible(timeout=60_000)
    studio.page.wait_for_timeout(15_000)
    take(studio, "generate")
    page(studio, "Build")
    take(studio, "build")
    page(studio, "Runs")
    for tick in studio.locator("table tbody tr:visible .rt-tick").all()[:2]:
        tick.click()
    studio.get_by_role("button", name="Compare").first.click()
    take(studio, "runs")


def take_editor(notebook: Notebook) -> None:
    """The editor of modules after an edit, what it changed in place and measured."""
    notebook.size(1560, 1100)  # wide enough for the tree beside it
    editor = notebook.run(EDITOR, timeout_s=300)
    editor.get_by_role("button", name="Changes").click()
    take(editor.locator(".jupyter-widgets").first, "edit")


def take_tree(notebook: Notebook) -> None:
    """The model as a tree, a layer of it chosen."""
    notebook.size(1560, 1100)
    tree = notebook.run(TREE, timeout_s=300)
    expect(tree.locator(".mt-row[aria-selected=true]")).to_be_visible(timeout=30_000)
    take(tree.locator(".dk").first, "tree")


def take_convert(notebook: Notebook) -> None:
    """Five pipelines beside the float model."""
    panel = notebook.run(CONVERT, timeout_s=900)
    panel.get_by_role("tab", name="Results", exact=True).click()
    expect(panel.locator(".cv-point")).to_have_count(5)
    take(panel.locator(".cv"), "convert")


TAKES: dict[str, Callable[[Notebook], None]] = {
    "studio": take_studio,
    "editor": take_editor,
    "tree": take_tree,
    "convert": take_convert,
}


def main(names: list[str]) -> None:
    """Those named, or all of them."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as home, sync_playwright() as playwright:
        lab = Lab(Path(home))
        lab.start()
        browser = launch(playwright)
        try:
            context = browser.new_context(viewport={"width": 1220, "height": 1500}, reduced_motion="reduce")
            for name in names or TAKES:
                TAKES[name](Notebook(lab, context, folder=name))
        finally:
            browser.close()
            lab.close()


if __name__ == "__main__":
    main(sys.argv[1:])
