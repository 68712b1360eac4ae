"""`Notebook`: one notebook in one page of JupyterLab, driven from a test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import BrowserContext, Locator, Page, expect

from tests.browser.lab import Lab, Watch, screenshots

# A machine may be five times slower than usual. What happens at all happens at once, so that waiting costs nothing.
PATIENCE_MS = 120_000
EMPTY: dict[str, Any] = {
    "cells": [],
    "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    "nbformat": 4,
    "nbformat_minor": 5,
}
# All scripts below see the notebook that is in front.
PANEL = "const panel = window.jupyterapp.shell.currentWidget; const book = panel.content;"


class LabPage:
    """JupyterLab in one page, with whatever is open in it.

    Args:
        lab: The server.
        context: A browser context of its own.
        folder: Path below the server's root that the file browser shows; made when absent.
        path: A file below `folder` to open at once.
    """

    def __init__(self, lab: Lab, context: BrowserContext, folder: str = "", path: str | None = None) -> None:
        self.lab = lab
        self.folder = lab.root / folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.watch = Watch(context, lab.origin)
        self.page: Page = context.new_page()
        self._workspace = f"w{abs(hash((folder, path, id(self)))):x}"
        self.goto("/".join(part for part in (folder, path or "") if part))

    def goto(self, tree: str = "") -> None:
        """Load JupyterLab with that file or folder in front."""
        where = f"/lab/workspaces/{self._workspace}" + (f"/tree/{tree}" if tree else "")
        self.page.goto(f"{self.lab.origin}{where}?token={self.lab.token}")
        self._restored()

    def reload(self) -> None:
        """Reload the page, as F5 does. What was not saved is lost."""
        self.page.reload()
        self._restored()

    def command(self, name: str, arguments: dict[str, Any] | None = None) -> Any:
        """Execute a command of JupyterLab, whatever it returns."""
        script = "([name, given]) => { window.jupyterapp.commands.execute(name, given); }"
        return self.page.evaluate(script, [name, arguments or {}])

    def theme(self, name: Literal["light", "dark"]) -> None:
        """Switch the theme."""
        self.command("apputils:change-theme", {"theme": f"JupyterLab {name.capitalize()}"})
        light = str(name == "light").lower()
        self.page.wait_for_selector(f'body[data-jp-theme-light="{light}"]', state="attached")
        self.page.wait_for_timeout(300)  # the style sheet arrives after the attribute

    def size(self, width: int, height: int = 900) -> None:
        """Size of the window; the side bar closes in a narrow one, as a person would do."""
        self.page.set_viewport_size({"width": width, "height": height})
        if width < 800:
            self.page.evaluate("() => window.jupyterapp.shell.collapseLeft()")
        self.page.wait_for_timeout(300)

    def screenshot(self, name: str, what: Locator | None = None) -> Path:
        """Take a picture of the page, or of one element of it."""
        file = screenshots() / f"{name}.png"
        (what or self.page).screenshot(path=file, animations="disabled")
        return file

    def _restored(self) -> None:
        self.page.wait_for_function("() => window.jupyterapp?.restored", timeout=PATIENCE_MS)
        self.page.evaluate("() => window.jupyterapp.restored")
        self.page.wait_for_selector("#jupyterlab-splash", state="detached", timeout=PATIENCE_MS)


class Notebook(LabPage):
    """A notebook that is open and has an idle kernel.

    Args:
        lab: The server.
        context: A browser context of its own.
        folder: Folder below the server's root; also the kernel's working directory.
        name: File name. Written with `cells` when it does not exist.
        cells: Sources of code cells.
        kernel: Name of the kernel specification.
    """

    def __init__(
        self,
        lab: Lab,
        context: BrowserContext,
        folder: str = "",
        name: str = "test.ipynb",
        *,
        cells: tuple[str, ...] = (),
        kernel: str = "python3",
    ) -> None:
        self.path = lab.root / folder / name
        if not self.path.exists():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(json.dumps(_document(cells, kernel)))
        super().__init__(lab, context, folder, name)

    @property
    def panel(self) -> Locator:
        """The notebook in front."""
        return self.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")

    @property
    def cells(self) -> Locator:
        """Its code cells."""
        return self.panel.locator(".jp-CodeCell")

    def run(
        self, source: str, *, timeout_s: float = PATIENCE_MS / 1000, wait: bool = True, may_fail: bool = False
    ) -> Locator:
        """Append a code cell, run it, and wait until the kernel is done with it.

        Args:
            source: Text of the cell.
            timeout_s: How long it may take.
            wait: False returns while it runs.
            may_fail: True accepts a traceback as its output.

        Returns: The cell's output area.
        """
        return self.run_cell(self._append(source), timeout_s=timeout_s, wait=wait, may_fail=may_fail)

    def printed(self, source: str) -> str:
        """What a cell that is appended and run prints: from the document, as the page may draw it a moment later."""
        index = self._append(source)
        self.run_cell(index)
        streams = [output for output in self._outputs(index) if output["output_type"] == "stream"]
        return "".join("".join(output["text"]) for output in streams).strip()

    def kernel_has(self, condition: str) -> None:
        """Wait until an expression is true in the kernel: what a page says may reach it beside its cells."""
        late = "assert time.monotonic() < until, 'not in time'"
        begin = f"import time\nuntil = time.monotonic() + {PATIENCE_MS / 2000}"
        self.run(f"{begin}\nwhile not ({condition}):\n    {late}\n    time.sleep(0.02)")

    def _append(self, source: str) -> int:
        return self.page.evaluate(
            f"""(source) => {{ {PANEL}
                const model = book.model.sharedModel;
                const cells = model.cells;
                const last = cells[cells.length - 1];
                if (last && last.cell_type === "code" && !last.source) last.setSource(source);
                else model.addCell({{ cell_type: "code", source }});
                book.activeCellIndex = book.widgets.length - 1;
                return book.activeCellIndex; }}""",
            source,
        )

    def run_cell(
        self, index: int, *, timeout_s: float = PATIENCE_MS / 1000, wait: bool = True, may_fail: bool = False
    ) -> Locator:
        """Run a cell that exists already, by its index among all cells; returns its output area."""
        # Text cells count as well. `execution_count` is cleared first, so that a number means: this execution is over.
        self.page.evaluate(
            f"""(index) => {{ {PANEL}
                book.activeCellIndex = index; book.deselectAll();
                const cell = book.widgets[index].model;
                if (cell.type === "code") cell.sharedModel.execution_count = null;
                window.jupyterapp.commands.execute("notebook:run-cell"); }}""",
            index,
        )
        if wait:
            self.finished(index, timeout_s)
            if not may_fail:
                assert not (problem := self.traceback(index)), problem
        return self.panel.locator(".jp-Cell").nth(index).locator(".jp-Cell-outputArea")

    def run_all(self, *, timeout_s: float = 120.0) -> None:
        """Run every cell from the top."""
        for index in range(self.page.evaluate(f"() => {{ {PANEL} return book.widgets.length; }}")):
            self.run_cell(index, timeout_s=timeout_s)

    def finished(self, index: int, timeout_s: float = PATIENCE_MS / 1000) -> None:
        """Wait until a cell has been executed."""
        self.page.wait_for_function(
            f"""(index) => {{ {PANEL}
                const cell = book.widgets[index].model;
                return cell.type !== "code" || cell.executionCount !== null; }}""",
            arg=index,
            timeout=timeout_s * 1000,
        )

    def traceback(self, index: int) -> str:
        """The error a cell ended with, as plain text; empty when it did not."""
        errors = [output for output in self._outputs(index) if output["output_type"] == "error"]
        return "\n".join(line for error in errors for line in error["traceback"])

    def _outputs(self, index: int) -> list[dict[str, Any]]:
        return self.page.evaluate(
            f"(index) => {{ {PANEL} return book.widgets[index].model.sharedModel.toJSON().outputs ?? []; }}", index
        )

    def save(self) -> None:
        """Save, and wait until it is on disk."""
        self.page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")

    def reload(self, *, save: bool = True) -> None:
        """Reload the page, as F5 does, and wait for the notebook and its kernel."""
        if save:
            self.save()
        super().reload()

    def restart_kernel(self) -> None:
        """Restart the kernel, without the question."""
        self.page.evaluate(f"async () => {{ {PANEL} await panel.sessionContext.restartKernel(); }}")
        self._idle()

    def shut_down_kernel(self) -> None:
        """Shut the kernel down; the notebook stays open."""
        self.page.evaluate(f"async () => {{ {PANEL} await panel.sessionContext.shutdown(); }}")

    def kernel_pid(self) -> int:
        """Process id of the kernel."""
        return int(self.printed("import os; print(os.getpid())"))

    def _restored(self) -> None:
        super()._restored()
        expect(self.panel).to_be_visible(timeout=PATIENCE_MS)
        self._idle()

    def _idle(self) -> None:
        self.page.wait_for_function(
            f"() => {{ {PANEL} return panel?.sessionContext?.session?.kernel?.status === 'idle' && book?.model; }}",
            timeout=PATIENCE_MS,
        )


def fits(element: Locator, slack: int = 0) -> None:
    """Wait until it is not wider than its place, by more than some pixels; it is laid out a moment after the window."""
    narrow = "([element, slack]) => element.scrollWidth <= element.clientWidth + slack"
    element.page.wait_for_function(narrow, arg=[element.element_handle(), slack])


def _document(cells: tuple[str, ...], kernel: str) -> dict[str, Any]:
    sources = [
        {"cell_type": "code", "id": f"cell-{i}", "source": text, "metadata": {}, "outputs": [], "execution_count": None}
        for i, text in enumerate(cells or ("",))
    ]
    return {**EMPTY, "cells": sources, "metadata": {"kernelspec": {"name": kernel, "display_name": kernel}}}
