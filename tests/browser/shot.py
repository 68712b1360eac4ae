"""Look at a widget: run a script's cells in JupyterLab and take a picture.

python -m tests.browser.shot cells.py out.png [--dark] [--width 380] [--wait SELECTOR] [--click SELECTOR] [--last]

Cells of the script are separated by lines that begin with `# %%`. Console errors and foreign requests are printed.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.browser.lab import Lab, launch
from tests.browser.notebook import Notebook


def main() -> int:
    options = _options()
    cells = [cell.strip() for cell in re.split(r"(?m)^# %%.*$", options.script.read_text()) if cell.strip()]
    with tempfile.TemporaryDirectory() as home, sync_playwright() as playwright:
        lab = Lab(Path(home), {"PYTHONPATH": str(options.script.resolve().parent)})
        if options.folder:
            lab.root = options.folder.resolve()
        lab.start()
        browser = launch(playwright)
        try:
            context = browser.new_context(device_scale_factor=options.scale, reduced_motion="reduce")
            notebook = Notebook(lab, context, name=f"{options.script.stem}.shot.ipynb")
            _picture(notebook, cells, options)
            print("\n".join(notebook.watch.problems) or "no console errors, no foreign requests", file=sys.stderr)
            return bool(notebook.watch.problems)
        finally:
            browser.close()
            lab.close()
            (lab.root / f"{options.script.stem}.shot.ipynb").unlink(missing_ok=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("script", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=900)
    parser.add_argument("--scale", type=float, default=1.0, help="pixels per pixel; 2 shows details")
    parser.add_argument("--wait", help="wait until this CSS selector is visible")
    parser.add_argument("--click", action="append", default=[], help="then click this selector; may be repeated")
    parser.add_argument("--pause", type=float, default=1.0, help="seconds before the picture")
    parser.add_argument("--last", action="store_true", help="only the output of the last cell")
    parser.add_argument("--folder", type=Path, help="existing folder to work in instead of an empty one")
    return parser.parse_args()


def _picture(notebook: Notebook, cells: list[str], options: argparse.Namespace) -> None:
    if options.dark:
        notebook.theme("dark")
    notebook.size(options.width, options.height)
    output = None
    for cell in cells:
        output = notebook.run(cell, timeout_s=300)
    if options.wait:
        notebook.page.locator(options.wait).first.wait_for(timeout=60_000)
    for selector in options.click:
        notebook.page.locator(selector).first.click()
    notebook.page.wait_for_timeout(1000 * options.pause)
    what = output if options.last and output else notebook.page
    what.screenshot(path=options.picture)


if __name__ == "__main__":
    sys.exit(main())
