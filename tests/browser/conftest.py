"""Fixtures of the browser tests: `lab`, `page` and `notebook`. How to use them stands at the top of lab.py."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.browser.lab import Lab, chromium, launch
from tests.browser.notebook import PATIENCE_MS, LabPage, Notebook
from tests.conftest import need

FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Iterator[None]:
    """Remember for the fixtures whether the test failed."""
    report = yield
    item.stash[FAILED] = item.stash.get(FAILED, False) or report.failed
    return report


@pytest.fixture(scope="session")
def start_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Lab]]:
    """Starts a JupyterLab of one's own: `start_lab(environment={…}, arguments=(…))`; ended with the session."""
    need("browser", chromium() is not None, "Chromium is not installed (Debian: apt-get install chromium)")
    with ExitStack() as opened:

        def start(**options: Any) -> Lab:
            lab = Lab(tmp_path_factory.mktemp("lab"), **options)
            opened.callback(lab.close)
            lab.start()
            return lab

        yield start


@pytest.fixture(scope="session")
def lab(start_lab: Callable[..., Lab]) -> Lab:
    """The JupyterLab that tests share. Each has a folder of its own in it."""
    return start_lab()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium. Not for the whole session: while it is open, this thread has a running event loop."""
    need("browser", chromium() is not None, "Chromium is not installed (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        opened = launch(playwright)
        yield opened
        opened.close()


@pytest.fixture
def open_page(
    browser: Browser, lab: Lab, request: pytest.FixtureRequest
) -> Iterator[Callable[..., LabPage | Notebook]]:
    """Opens pages: `open_page(Notebook, name="a.ipynb")`, `open_page(LabPage)`; several of them for several people.

    Each is checked at the end for console errors, page errors and requests to other hosts.
    """
    folder = re.sub(r"\W+", "-", request.node.name).strip("-")
    pages: list[LabPage] = []

    def start(kind: type[LabPage] = Notebook, server: Lab = lab, **options: Any) -> LabPage:
        context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
        context.set_default_timeout(PATIENCE_MS)
        expect.set_options(timeout=PATIENCE_MS)
        pages.append(kind(server, context, **{"folder": folder, **options}))
        return pages[-1]

    yield start
    for number, page in enumerate(pages):
        if request.node.stash.get(FAILED, False):
            print(f"picture: {page.screenshot(f'failed-{folder}-{number}')}, server: {page.lab.log}")
        page.page.context.close()
    lab.shut_down_kernels()
    problems = [problem for page in pages for problem in page.watch.problems]
    assert not problems, "\n".join(problems)


@pytest.fixture
def page(open_page: Callable[..., LabPage]) -> LabPage:
    """JupyterLab, showing an empty folder and the launcher."""
    return open_page(LabPage)


@pytest.fixture
def notebook(open_page: Callable[..., Notebook]) -> Notebook:
    """A new notebook with an idle kernel, in a folder of its own."""
    return open_page(Notebook)
