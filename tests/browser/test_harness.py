"""The harness itself: it runs cells in a real JupyterLab, and it notices what a page must not do."""

from __future__ import annotations

from collections.abc import Callable

import psutil
import pytest

from tests.browser.lab import Lab
from tests.browser.notebook import Notebook

pytestmark = pytest.mark.slow  # it proves the tools of the other tests, which show every day that they work


def test_a_cell_runs_and_survives_reload_theme_and_restart(notebook: Notebook):
    output = notebook.run("answer = 41 + 1; answer")
    assert "42" in output.inner_text()
    notebook.theme("dark")
    notebook.size(380)
    notebook.reload()
    assert "42" in notebook.cells.nth(0).inner_text()
    before = notebook.kernel_pid()
    notebook.restart_kernel()
    assert "gone" in notebook.run("print('kept' if 'answer' in globals() else 'gone')").inner_text()
    assert psutil.pid_exists(before) is False


def test_errors_and_foreign_requests_are_noticed(notebook: Notebook):
    notebook.watch.allow("said on purpose|thrown on purpose|elsewhere.invalid|ERR_")
    notebook.page.evaluate("() => console.error('said on purpose')")
    notebook.page.evaluate("() => { setTimeout(() => { throw new Error('thrown on purpose'); }); }")
    notebook.page.evaluate("() => fetch('https://elsewhere.invalid/x').catch(() => 0)")
    notebook.page.wait_for_timeout(300)
    seen = "\n".join(notebook.watch.seen)
    assert "console error: said on purpose" in seen
    assert "page error: " in seen
    assert "request to another host: https://elsewhere.invalid/x" in seen
    assert notebook.watch.problems == []


def test_a_traceback_fails_the_cell(notebook: Notebook):
    assert "ZeroDivisionError" in notebook.run("1 / 0", may_fail=True).inner_text()
    assert "ZeroDivisionError" in notebook.traceback(0)


def test_nothing_is_left_of_a_closed_server(start_lab: Callable[..., Lab], open_page: Callable[..., Notebook]):
    lab = start_lab()
    notebook = open_page(Notebook, server=lab)
    notebook.watch.allow("")  # its server goes away under it
    detached = "import subprocess; subprocess.Popen(['sleep', '600'], start_new_session=True)"
    notebook.run(f"{detached}; None")
    lab.stop()
    assert [process.name() for process in lab.processes()] == ["sleep"]
    lab.close()
    assert [process for process in lab.processes() if process.status() != psutil.STATUS_ZOMBIE] == []
