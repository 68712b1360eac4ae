"""Executes the teaching notebooks as a newcomer would, and keeps their outputs: `python docs/notebooks.py [NAME…]`.

What is kept is text and static pictures. Widget state, timings and paths of this machine are not.
"""

from __future__ import annotations

import os
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"


def execute(book: Any, folder: Path, *, timeout_s: int = 600) -> Any:
    """Run every cell in a fresh kernel.

    Args:
        book: the notebook; its outputs are replaced.
        folder: working directory of the kernel; its caches lie there too, as on a new machine.
        timeout_s: longest time of one cell.

    Returns: the same notebook, with the times of its cells in their metadata.
    """
    before = dict(os.environ)
    os.environ["DARKIT_CACHE"] = str(folder / "cache")
    try:
        resources = {"metadata": {"path": str(folder)}}
        client = NotebookClient(
            book, timeout=timeout_s, kernel_name="python3", resources=resources, store_widget_state=False
        )
        client.execute()
    finally:
        os.environ.clear()
        os.environ.update(before)
    return book


def stripped(book: Any, folder: Path) -> Any:
    """Without times, errors on the standard error stream, and names of this machine's folders."""
    for number, cell in enumerate(cell for cell in book.cells if cell.cell_type == "code"):
        cell.metadata.pop("execution", None)
        cell.execution_count = number + 1
        cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    text = nbformat.writes(book)
    packages = sysconfig.get_path("purelib")
    for private in (str(folder.resolve()), str(folder), packages, str(NOTEBOOKS.parent)):
        text = text.replace(f"{private}/", "")
    return nbformat.reads(text, as_version=4)


def main(names: list[str]) -> None:
    """Execute those whose file names begin so; all of them where none is named."""
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        if names and not path.name.startswith(tuple(names)):
            continue
        with tempfile.TemporaryDirectory() as folder:
            book = execute(nbformat.read(path, as_version=4), Path(folder))
            nbformat.write(stripped(book, Path(folder)), path)
        print(f"{path.name}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
