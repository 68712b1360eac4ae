"""What the cells of a notebook said."""

from __future__ import annotations

from typing import Any


def code_cells(book: Any) -> list[Any]:
    """Its code cells, in order."""
    return [cell for cell in book.cells if cell.cell_type == "code"]


def outputs(book: Any, containing: str) -> list[Any]:
    """Outputs of the first code cell whose source holds that text."""
    return next(cell.outputs for cell in code_cells(book) if containing in cell.source)


def told(book: Any, containing: str) -> str:
    """All text of a cell's outputs."""
    return "\n".join(
        one.get("text", "") or one.get("data", {}).get("text/plain", "") for one in outputs(book, containing)
    )


def pictures(book: Any, containing: str) -> str:
    """The static pages among a cell's outputs."""
    return "\n".join(one.get("data", {}).get("text/html", "") for one in outputs(book, containing))
