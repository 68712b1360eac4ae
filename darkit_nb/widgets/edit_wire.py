"""What an `EditPane` tells its page, as plain data: the open module, an edit of the history, and a report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from darkit_nb.views.edit_report import EditReport, PastEdit
from darkit_nb.widgets.edit_desk import OpenModule
from darkit_nb.widgets.module_paths import same_place


def source_wire(opened: OpenModule, magic: str) -> dict[str, Any]:
    """An open module.

    Args:
        opened: the module.
        magic: how Python names it in a cell.
    """
    layers = opened.layers
    return {
        "path": opened.path,
        "class_name": opened.class_name,
        "module": opened.module,
        "file": opened.file,
        "line": opened.line,
        "text": opened.text,
        "original": opened.original,
        "hash": opened.hash,
        "same_class": len(opened.same_class),
        "layers": None if layers is None else {"first": layers[0], "last": layers[1], "pattern": _pattern(opened)},
        "reason": opened.reason,
        "magic": magic,
    }


def past_wire(past: PastEdit) -> dict[str, Any]:
    """An edit of the history."""
    patch = past.patch
    return {
        "number": past.number,
        "id": patch.id,
        "kind": patch.kind,
        "class_name": patch.class_name,
        "targets": list(patch.targets),
        "note": patch.note,
        "label": patch.label,
        "diff": patch.diff,
        "time": past.time,
        "step": past.step,
        "reverted": past.reverted,
        "problem": _told(past.problem),
    }


def report_wire(report: EditReport) -> dict[str, Any]:
    """What came of an edit, beside its title."""
    return {
        "seconds": report.seconds,
        "problems": [each.to_dict() for each in report.problems],
        "new": list(report.new),
        "kept": list(report.kept),
        "dropped": list(report.dropped),
        "effect": [vars(row) for row in report.effect],
        "notes": list(report.notes),
    }


def _pattern(opened: OpenModule) -> str:
    """The path with `*` for the number of the layer."""
    numbers = [str(number) for number, path in same_place(opened.path, opened.same_class) if path == opened.path]
    parts = opened.path.split(".")
    at = next((place for place, part in enumerate(parts) if part in numbers), None)
    return ".".join("*" if place == at else part for place, part in enumerate(parts))


def _told(problem: Mapping[str, Any] | None) -> dict[str, str] | None:
    return {name: str(text) for name, text in problem.items() if text} if problem else None
