"""The main job as a person does it: build a run, start it, watch it, lose the page and the kernel, and find it again.

Pictures of the way are kept with DARKIT_SCREENSHOTS; the README's come from here.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from darkit_nb.runs import RunDirectory, list_runs
from tests.browser.lab import Lab
from tests.browser.notebook import PATIENCE_MS, LabPage, Notebook, fits

STUDIO = "import darkit_nb as dk\nstudio = dk.Studio()\nstudio"


def field(output: Locator, key: str) -> Locator:
    """The control of the form for that setting."""
    return output.locator(f'[data-key="{key}"] input').first


def fill(output: Locator, values: dict[str, str]) -> None:
    """Type values into the fields of those settings."""
    for key, value in values.items():
        control = field(output, key)
        control.fill(value)
        control.press("Tab")


def open_page(output: Locator, name: str) -> None:
    """Click a tab of the Studio."""
    output.get_by_role("tab", name=name, exact=True).click()


def chip(output: Locator) -> Locator:
    """The state beside the tabs."""
    return output.locator(".studio-current .dk-chip")


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for something outside the page."""
    end = time.monotonic() + PATIENCE_MS / 1000
    while not condition():
        assert time.monotonic() < end, f"not in time: {what}"
        time.sleep(0.05)


def points(page: Page) -> int:
    """Points of the longest trace in the chart that is shown."""
    return page.evaluate(
        """() => Math.max(0, ...[...document.querySelectorAll(".js-plotly-plot")]
            .filter((plot) => plot.checkVisibility({ visibilityProperty: true }))
            .flatMap((plot) => (plot._fullData ?? []).map((trace) => trace.x?.length ?? 0)))"""
    )


@pytest.fixture
def studio(notebook: Notebook) -> Locator:
    """The Studio in a new notebook."""
    notebook.size(1280, 1100)
    return notebook.run(STUDIO)


def only_run(notebook: Notebook) -> RunDirectory:
    """The one run of this notebook's folder."""
    (found,) = list_runs(notebook.folder / "runs")
    return found


def states(notebook: Notebook) -> dict[str | None, str]:
    """State of each run of this notebook's folder, by its name."""
    return {one.name: one.read_status().state for one in list_runs(notebook.folder / "runs")}


def test_from_the_form_to_a_run_that_outlives_page_and_kernel(notebook: Notebook, studio: Locator):
    page = notebook.page
    expect(studio.get_by_role("button", name="Start", exact=True)).to_be_enabled()
    notebook.screenshot("studio-build")

    fill(studio, {"train.steps": "0"})
    start = studio.get_by_role("button", name="Start", exact=True)
    expect(start).to_be_disabled()
    expect(field(studio, "train.steps")).to_have_attribute("aria-invalid", "true")
    notebook.screenshot("studio-invalid")

    fill(studio, {"train.steps": "30000", "train.batch_size": "8", "spike.num_levels": "8"})
    expect(start).to_be_enabled()
    expect(studio.get_by_text("train.steps=30000").first).to_be_visible()
    start.dblclick()  # a hasty person
    expect(chip(studio)).to_have_text(re.compile("starting|running"))
    run = only_run(notebook)

    expect(chip(studio)).to_have_text("running")
    until(lambda: points(page) >= 20, "twenty points in the chart")
    before = points(page)
    until(lambda: points(page) > before, "the chart moves")
    notebook.screenshot("studio-watch")
    assert len(list_runs(notebook.folder / "runs")) == 1

    notebook.reload()
    until(lambda: points(page) >= before, "the chart is intact after a reload")

    notebook.restart_kernel()
    assert run.read_status().state == "running"
    again = notebook.run_cell(0)
    expect(chip(again)).to_have_text("running")
    until(lambda: points(page) >= before, "the whole history is back after a restart of the kernel")

    open_page(again, "Spikes")
    box = again.get_by_placeholder(re.compile("text|sentence", re.I)).first
    box.fill("def spike(membrane, threshold):")
    box.press("Enter")
    expect(again.locator("canvas").first).to_be_visible()
    until(lambda: painted(page) > 0, "spikes on the canvas")
    notebook.screenshot("studio-spikes")

    open_page(again, "Watch")
    again.get_by_role("button", name=re.compile("^Stop")).first.click()
    until(lambda: run.read_status().state == "stopped", "stopped")
    expect(chip(again)).to_have_text("stopped")
    stopped_at = run.read_status().step
    assert run.latest_checkpoint() is not None
    assert run.latest_checkpoint().step == stopped_at  # type: ignore[union-attr]

    again.get_by_role("button", name=re.compile("^Resume")).first.click()
    expect(chip(again)).to_have_text("running")
    until(lambda: (run.read_status().step or 0) > (stopped_at or 0), "it goes on where it was")

    open_page(again, "Build")
    for name, steps in (("second", "5"), ("third", "6")):
        fill(again, {"train.steps": steps, "name": name})
        again.get_by_role("button", name="Queue", exact=True).click()
        until(lambda name=name: states(notebook).get(name) == "queued", f"{name} is queued")
        expect(again.get_by_role("tab", name="Runs", exact=True, selected=True)).to_be_visible()  # goes there by itself
        open_page(again, "Build")

    open_page(again, "Runs")
    rows = again.locator("table tbody tr").filter(visible=True)  # the hidden static picture has them too
    expect(rows.get_by_text("queued", exact=True)).to_have_count(2)
    notebook.screenshot("studio-runs")

    run_stop(run)
    until(lambda: set(states(notebook).values()) <= {"finished", "stopped"}, "the queue is worked off")
    expect(rows.get_by_text("finished", exact=True)).to_have_count(2)
    for name in ("second", "third"):
        rows.filter(has_text=name).locator(".rt-tick").click()
    again.get_by_role("button", name=re.compile("^Compare")).first.click()
    expect(again.get_by_text("train.steps").filter(visible=True).first).to_be_visible()
    notebook.screenshot("studio-compare")

    notebook.theme("dark")
    for name in ("Build", "Data", "Watch", "Spikes", "Generate", "Runs"):
        open_page(again, name)
        notebook.page.wait_for_timeout(1500)
        notebook.screenshot(f"studio-{name.lower()}-dark")
    notebook.size(420, 900)
    for name in ("Build", "Watch", "Spikes", "Generate", "Runs"):
        open_page(again, name)
        notebook.page.wait_for_timeout(800)
        notebook.screenshot(f"studio-{name.lower()}-narrow")
        fits(again, slack=1)


def painted(page: Page) -> int:
    """Opaque pixels of the largest canvas shown."""
    return page.evaluate(
        """() => { const drawn = [...document.querySelectorAll("canvas")]
                .filter((it) => it.width && it.checkVisibility({ visibilityProperty: true }));
            const canvas = drawn.sort((a, b) => b.width * b.height - a.width * a.height)[0];
            if (!canvas) return 0;
            const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
            let count = 0; for (let i = 3; i < data.length; i += 4) if (data[i]) count++; return count; }"""
    )


def run_stop(run: RunDirectory) -> None:
    """Stop a run from outside the notebook, as a terminal would."""
    from darkit_nb.runs import Run

    Run(run).stop()


def test_a_server_that_was_stopped_finds_all_runs_again(
    start_lab: Callable[..., Lab], open_page: Callable[..., LabPage]
):
    lab = start_lab()
    notebook = open_page(Notebook, lab, folder="mine")
    assert isinstance(notebook, Notebook)
    notebook.run(
        "import darkit_nb as dk\n"
        "run = dk.train(dk.load_config(overrides=['train.steps=40000', 'name=survivor']))\n"
        "print(run.id)"
    )
    run = only_run(notebook)
    until(lambda: (run.read_status().step or 0) > 2, "training")
    notebook.watch.allow("")  # the page loses its server on purpose
    lab.stop()
    step = run.read_status().step or 0
    until(lambda: (run.read_status().step or 0) > step, "the run goes on without a server")

    lab.start()
    later = open_page(Notebook, lab, folder="mine", name="later.ipynb")
    assert isinstance(later, Notebook)
    output = later.run(STUDIO)
    expect(chip(output)).to_have_text("running")
    output.get_by_role("tab", name="Runs", exact=True).click()
    rows = output.locator("table tbody tr").filter(visible=True)
    expect(rows.filter(has_text="survivor")).to_have_count(1)
    run_stop(run)
    until(lambda: run.read_status().state == "stopped", "stopped")
    assert Path(run.root).is_dir()
