"""The JupyterLab extension: launcher cards, palette entries and the runs panel; and that nothing needs it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import Locator, Request, expect

from tests.browser.lab import Lab
from tests.browser.notebook import PATIENCE_MS, LabPage, Notebook

ROOT = Path(__file__).parent.parent.parent
QUICKSTART = "01_quickstart.ipynb"
SMALL = (
    "model.overrides.hidden_size=32",
    "model.overrides.intermediate_size=64",
    "model.overrides.num_hidden_layers=2",
    "data.seq_len=32",
    "data.max_train_tokens=60000",
    "data.max_validation_tokens=4000",
    "train.batch_size=4",
    "train.num_threads=1",
    "monitor.spikes_every=50",
)


def write_run(folder: Path, name: str, metrics: str = "", **status: object) -> Path:
    """A run's folder, as far as the panel reads it."""
    run = folder / "runs" / name
    run.mkdir(parents=True)
    (run / "status.json").write_text(json.dumps({"schema": 1, "attempt": 1, **status}))
    (run / "command.txt").write_text("darkit-nb train name=x\n")
    (run / "metrics.jsonl").write_text(metrics)
    (run / "config.yaml").write_text("schema: 1\n")
    return run


def show_runs(page: LabPage) -> None:
    page.page.get_by_role("tab", name="DarKit runs").click()
    expect(page.page.get_by_role("region", name="DarKit runs")).to_be_visible()


def palette(page: LabPage, text: str) -> Locator:
    """The palette's entries for a search. It closes when something takes the focus, as a page that loads does."""
    field = page.page.locator(".lm-CommandPalette-input")
    entries = page.page.locator(".lm-CommandPalette-item")
    until = time.monotonic() + PATIENCE_MS / 1000
    while time.monotonic() < until:
        if not field.is_visible():
            page.page.keyboard.press("Control+Shift+C")
        page.page.wait_for_timeout(500)
        with suppress(PlaywrightError):  # it may close between the look and the typing
            field.fill(text, timeout=3_000)
            page.page.wait_for_timeout(500)
            if entries.first.is_visible():
                return entries
    raise AssertionError("the palette does not stay open")


def test_the_launcher_opens_the_quickstart_and_never_overwrites_it(page: LabPage):
    page.page.locator(".jp-LauncherCard", has_text="DarKit quickstart").click()
    expect(page.page.locator(".jp-NotebookPanel h1")).to_contain_text("See a language model spike")
    cells = [cell["source"] for cell in json.loads((ROOT / "notebooks" / QUICKSTART).read_text())["cells"]]
    copied = json.loads((page.folder / QUICKSTART).read_text())["cells"]
    assert ["".join(cell["source"]) for cell in copied] == ["".join(source) for source in cells]

    page.page.locator(".jp-NotebookPanel .jp-Cell").first.click()
    page.page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
    page.command("application:close-all")
    expect(page.page.locator(".jp-NotebookPanel")).to_have_count(0)
    (page.folder / QUICKSTART).write_text((page.folder / QUICKSTART).read_text().replace("See a", "My own"))
    page.page.locator(".jp-LauncherCard", has_text="DarKit quickstart").click()
    expect(page.page.locator(".jp-NotebookPanel h1")).to_contain_text("My own language model spike")


def test_the_launcher_opens_a_studio_that_runs(page: LabPage):
    page.page.locator(".jp-LauncherCard", has_text="DarKit Studio").click()
    panel = page.page.locator(".jp-NotebookPanel")
    expect(panel.locator(".jp-InputArea-editor").first).to_contain_text("dk.Studio()")
    expect(panel.locator(".jp-OutputArea-output .dk").first).to_be_visible()
    assert (page.folder / "studio.ipynb").is_file()
    page.screenshot("extension-studio")


def test_the_palette_has_every_command(page: LabPage):
    entries = palette(page, "DarKit")
    for label in ("Open the quickstart", "Open Studio", "New training notebook", "Show runs"):
        expect(entries.filter(has_text=label)).to_be_visible()
    entries.filter(has_text="New training notebook").click()
    expect(page.page.locator(".jp-NotebookPanel h1")).to_contain_text("Train a spiking language model")
    assert "dk.train(config)" in (page.folder / "training.ipynb").read_text()
    palette(page, "DarKit Show runs").filter(has_text="Show runs").click()
    expect(page.page.get_by_role("region", name="DarKit runs")).to_be_visible()


def test_without_runs_the_panel_offers_the_quickstart(page: LabPage):
    show_runs(page)
    page.screenshot("extension-runs-empty")
    page.page.get_by_role("button", name="Open quickstart").click()
    expect(page.page.locator(".jp-NotebookPanel h1")).to_contain_text("See a language model spike")


def test_the_panel_shows_what_runs_are_doing(page: LabPage):
    now = time.time()
    measured = '{"kind": "train", "loss": 2.3456}\n{"kind": "evaluation", "bits_per_byte": 3.25}\n'
    running = {"state": "running", "total_steps": 200, "started": now - 100}
    live = write_run(page.folder, "20261122-070101-live-ab12", measured, **running, step=70, heartbeat=now + 600)
    write_run(page.folder, "20261122-060101-dead-ab12", **running, step=30, heartbeat=now - 500)
    ended = {"step": 200, "total_steps": 200, "started": now - 3000, "ended": now - 2000}
    write_run(page.folder, "20261122-050101-done-ab12", measured, state="finished", **ended)
    write_run(page.folder, "20261122-040101-broken-ab12", state="failed", message="no memory", **ended)
    (page.folder / "runs" / "notes").mkdir()
    show_runs(page)
    rows = page.page.locator(".dk-run")
    expect(rows).to_have_count(4)
    for index in (0, 2):
        expect(rows.nth(index)).to_contain_text("bits/byte")  # is read after the state
    times = re.compile(r"\d+ min \d+ s|\d+ min(?= ago)|\d+ seconds")
    texts = [times.sub("TIME", row).split("\n") for row in rows.all_inner_texts()]
    assert texts == [
        ["live", "running", "70 / 200", "TIME", "loss 2.35 · 3.25 bits/byte"],
        ["dead", "lost", "30 / 200", "TIME ago", "no heartbeat for TIME"],
        ["done", "finished", "200 / 200", "TIME ago", "loss 2.35 · 3.25 bits/byte"],
        ["broken", "failed", "200 / 200", "TIME ago", "no memory"],
    ]
    expect(rows.first.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "35")
    page.screenshot("extension-runs-light")
    page.theme("dark")
    page.screenshot("extension-runs-dark")
    page.theme("light")

    status = {"schema": 1, "attempt": 1, **running, "step": 80, "heartbeat": now + 600}
    (live / "status.json.new").write_text(json.dumps(status))
    (live / "status.json.new").rename(live / "status.json")
    expect(rows.first).to_contain_text("80 / 200")


def test_a_run_is_reached_by_keyboard_alone(page: LabPage):
    write_run(page.folder, "20261122-050101-one-ab12", state="created")
    write_run(page.folder, "20261122-040101-two-ab12", state="created")
    page.command("darkit:show-runs")
    expect(page.page.locator(".dk-run")).to_have_count(2)
    first, second = page.page.locator(".dk-run").all()
    first.focus()
    page.page.keyboard.press("ArrowDown")
    expect(second).to_be_focused()
    page.page.keyboard.press("Enter")
    menu = page.page.locator(".lm-Menu")
    expect(menu).to_contain_text("Open dashboard")
    expect(menu.locator(".lm-mod-disabled")).to_contain_text("Insert dashboard")
    page.page.keyboard.press("Escape")
    expect(menu).to_be_hidden()
    expect(second).to_be_focused()
    page.page.keyboard.press("Enter")
    page.page.keyboard.press("ArrowDown")
    page.page.keyboard.press("Enter")
    cell = page.page.locator(".jp-NotebookPanel .jp-InputArea-editor")
    expect(cell.first).to_contain_text('dk.open_run("runs/20261122-040101-two-ab12")')


def test_a_dashboard_goes_into_the_notebook_in_front(notebook: Notebook):
    write_run(notebook.folder, "20261122-050101-one-ab12", state="created")
    notebook.run("1 + 1")
    show_runs(notebook)
    notebook.page.locator(".dk-run").click()
    notebook.page.get_by_role("menuitem", name="Insert dashboard into test.ipynb").click()
    expect(notebook.cells.nth(1)).to_contain_text('dk.open_run("runs/20261122-050101-one-ab12")')
    expect(notebook.cells.nth(1)).to_contain_text("[2]:")


def test_a_run_gives_its_folder_id_and_command(page: LabPage):
    run = write_run(page.folder, "20261122-050101-one-ab12", state="created")
    page.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    show_runs(page)

    def choose(entry: str) -> None:
        page.page.locator(".dk-run").click()
        page.page.get_by_role("menuitem", name=entry).click()

    for entry, text in (("Copy id", run.name), ("Copy command", "darkit-nb train name=x")):
        choose(entry)
        page.page.wait_for_function("async (text) => (await navigator.clipboard.readText()) === text", arg=text)
    choose("Open folder")
    expect(page.page.locator(".jp-DirListing-item", has_text="status.json")).to_be_visible()


def test_a_folder_that_cannot_be_written_is_said_to_the_person(page: LabPage):
    page.watch.allow("Failed to load resource.* 4|Failed to load resource.* 5|storing|save")
    (page.folder / "training.ipynb").mkdir()  # taken, and in the list
    page.command("darkit:new-training-notebook", {"cwd": f"{page.folder.name}/absent"})
    dialog = page.page.locator(".jp-Dialog")
    expect(dialog).to_contain_text("New training notebook did not work")
    dialog.get_by_role("button", name="Close").or_(dialog.locator(".jp-mod-accept")).first.click()


def test_nothing_is_asked_while_the_panel_is_hidden(page: LabPage):
    write_run(page.folder, "20261122-050101-one-ab12", state="running", step=1, heartbeat=time.time())
    asked: list[str] = []
    page.page.on("request", lambda request: asked.append(request.url) if _about_runs(request) else None)
    show_runs(page)
    expect(page.page.locator(".dk-run")).to_be_visible()
    page.page.wait_for_timeout(3500)
    assert len(asked) <= 12, asked
    until = time.monotonic() + PATIENCE_MS / 1000
    while len(asked) < 2 and time.monotonic() < until:
        page.page.wait_for_timeout(100)
    assert len(asked) >= 2
    page.page.locator(".lm-TabBar-tab[data-id='filebrowser']").click()
    while asked and time.monotonic() < until:  # what was under way comes to its end
        asked.clear()
        page.page.wait_for_timeout(4000)
    assert asked == []


def _about_runs(request: Request) -> bool:
    return "/runs" in request.url and ("/api/contents" in request.url or "/files/" in request.url)


def test_the_panel_follows_a_real_training(page: LabPage):
    settings = [*SMALL, "name=real", "train.steps=100000", f"runs_dir={page.folder / 'runs'}"]
    command = [sys.executable, "-m", "darkit_nb", "train", "--quiet", *settings]
    log = (page.lab.home / "training.log").open("wb")
    training = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
    try:
        show_runs(page)
        row = page.page.locator(".dk-run")
        expect(row).to_contain_text("running")
        expect(row).to_contain_text("loss")
        before = row.locator(".dk-run-facts").inner_text()
        expect(row.locator(".dk-run-facts")).not_to_contain_text(before.split(" /")[0] + " /")
        training.send_signal(signal.SIGINT)
        expect(row).to_contain_text("stopped")
    finally:
        training.kill()
        training.wait()
        log.close()


@pytest.fixture
def plain_lab(tmp_path: Path) -> Iterator[Lab]:
    """A JupyterLab whose user has switched the extension off."""
    lab = Lab(tmp_path)
    switch = [sys.executable, "-m", "jupyter", "labextension", "disable", "--level=user", "darkit-nb"]
    subprocess.run(switch, env=lab.environment, check=True, capture_output=True, timeout=PATIENCE_MS / 1000)
    lab.start()
    yield lab
    lab.close()


def test_without_the_extension_everything_else_works(plain_lab: Lab, open_page: Callable[..., Notebook]):
    notebook = open_page(Notebook, server=plain_lab)
    assert notebook.page.evaluate("() => window.jupyterapp.hasPlugin('darkit-nb:plugin')") is False
    assert notebook.page.locator("[data-id='darkit-runs']").count() == 0
    output = notebook.run("from darkit_nb.widgets import ConfigForm; ConfigForm()")
    expect(output.locator(".dk").first).to_be_visible()


def test_jupyterlab_finds_the_extension_valid():
    listed = subprocess.run(
        [sys.executable, "-m", "jupyter", "labextension", "list"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_MS / 1000,
        check=True,
    )
    (line,) = [line for line in (listed.stdout + listed.stderr).splitlines() if "darkit-nb v" in line]
    assert "enabled" in line
    assert "OK" in line
