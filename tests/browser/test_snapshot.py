"""A widget's static picture: hidden while the widget lives, there when no kernel is."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.lab import screenshots
from tests.browser.notebook import PATIENCE_MS, Notebook

CELL = """
import traitlets
from darkit_nb.widgets.studio_bar import StudioBar
class Seen(StudioBar):
    def text(self): return f"page {self.page}"
    def snapshot(self): return f'<p>picture of {self.page}</p>'
    @traitlets.observe("page")
    def _new(self, change): self.refresh_snapshot(now=True)
bar = Seen(); bar
"""


def test_the_picture_gives_way_to_the_live_widget_and_stays_without_a_kernel(
    open_page: Callable[..., Notebook], notebook: Notebook
):
    output = notebook.run(CELL)
    picture = output.locator("[class^=dk-snapshot-]")
    expect(output.get_by_role("tab", name="Watch")).to_be_visible()
    expect(picture).to_be_hidden()

    output.get_by_role("tab", name="Watch").click()
    expect(picture).to_have_text("picture of Watch")
    expect(picture).to_be_hidden()

    notebook.reload()
    expect(notebook.page.get_by_role("tab", name="Watch", selected=True).last).to_be_visible()
    expect(picture).to_be_hidden()
    notebook.watch.allow("widget model not found")  # what ipywidgets says of any widget whose kernel is gone
    notebook.shut_down_kernel()
    notebook.reload()
    expect(picture).to_be_visible()
    expect(picture).to_have_text("picture of Watch")
    expect(notebook.page.get_by_text("Loading widget")).to_be_hidden()


def test_a_page_made_of_the_notebook_shows_the_picture_without_a_network(
    notebook: Notebook, browser: Browser, tmp_path: Path
):
    notebook.run(CELL)
    notebook.save()
    expect_saved(notebook.path)
    page = tmp_path / "page.html"
    command = ["-m", "nbconvert", "--to", "html", "--output", str(page), str(notebook.path)]
    subprocess.run([sys.executable, *command], check=True, capture_output=True, timeout=PATIENCE_MS / 1000)
    offline = browser.new_context()
    offline.route("**/*", lambda route: route.continue_() if route.request.url.startswith("file:") else route.abort())
    reader = offline.new_page()
    reader.goto(page.as_uri())
    expect(reader.locator("[class^=dk-snapshot-]")).to_be_visible()
    expect(reader.locator("[class^=dk-snapshot-]")).to_have_text("picture of Build")
    assert "Seen" not in reader.locator(".jp-OutputArea-output").all_inner_texts()
    reader.screenshot(path=screenshots() / "nbconvert.png")
    offline.close()


def expect_saved(path: Path) -> None:
    until = time.monotonic() + PATIENCE_MS / 1000
    while "dk-snapshot" not in path.read_text():
        assert time.monotonic() < until, "the notebook was not saved"
        time.sleep(0.1)


BROKEN = """
from darkit_nb.widgets.studio_bar import StudioBar
class Broken(StudioBar):
    _esm = {script!r}
    def snapshot(self): return '<p>the picture</p>'
Broken()
"""


@pytest.mark.parametrize(
    "script",
    [
        "throw new Error('no such engine')",
        pytest.param("import 'https://nowhere.invalid/x.js'", marks=pytest.mark.slow),
        pytest.param("}{", marks=pytest.mark.slow),
    ],
)
def test_javascript_that_fails_to_load_leaves_the_picture(notebook: Notebook, script: str):
    reasons = ("no such engine", "anywidget", "nowhere.invalid", "ERR_", "Unexpected token", "Failed to")
    for expected in (*reasons, "Could not create a view"):
        notebook.watch.allow(expected)
    output = notebook.run(BROKEN.format(script=script))
    expect(output.locator("[class^=dk-snapshot-]")).to_have_text("the picture")
    notebook.page.wait_for_timeout(1500)
    expect(output.locator("[class^=dk-snapshot-]")).to_be_visible()
    notebook.screenshot(f"broken-{len(script)}")
