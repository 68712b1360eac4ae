"""What came of an edit: taken or refused, where it is wrong, which parameters changed, what was measured."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from darkit_nb.records.patch import Patch, PatchProblem
from darkit_nb.views.python_html import diff_counts, diff_html

GOOD, BAD, QUIET = "#2f9e5f", "#d84343", "#808893"
"""Readable on white and on black."""

_BOX = (
    "border:1px solid rgba(128,128,128,.45);border-left:4px solid {};border-radius:6px;padding:8px 12px;max-width:70em;"
)
_FONT = "font:13px/1.5 system-ui,sans-serif"
_SHOWN = 12
"""Names of parameters that are listed; more are counted."""


@dataclass(frozen=True)
class Measure:
    """One quantity before and after an edit.

    Attributes:
        name: what was measured.
        before, after, change: as text.
        better: whether the change is welcome; None where that cannot be said.
    """

    name: str
    before: str
    after: str
    change: str
    better: bool | None = None


@dataclass(frozen=True, kw_only=True)
class EditReport:
    """The answer to a check, an application or a revert; shows itself in a notebook.

    Attributes:
        title: one sentence.
        ok: whether what was asked for happened.
        problems: why not.
        excerpt: the lines around each problem's line, by number of the line.
        new, kept, dropped: parameters.
        effect: what was measured.
        notes: what could not be checked.
        diff: the edit.
        place: what lines are lines of: "line", or "cell line".
        seconds: time it took.
    """

    title: str
    ok: bool
    problems: Sequence[PatchProblem] = ()
    excerpt: Mapping[int, str] = field(default_factory=dict)
    new: Sequence[str] = ()
    kept: Sequence[str] = ()
    dropped: Sequence[str] = ()
    effect: Sequence[Measure] = ()
    notes: Sequence[str] = ()
    diff: str = ""
    place: str = "line"
    seconds: float | None = None

    def __repr__(self) -> str:
        return self.to_text()

    def _repr_html_(self) -> str:
        return self.to_html()

    def to_text(self) -> str:
        """Plain text for a terminal."""
        lines = [f"{'✓' if self.ok else '✗'} {self.title}{self._facts()}"]
        for problem in self.problems:
            lines += [f"  {self._where(problem)}{problem.message}", *(f"      {line}" for line in self._lines(problem))]
            lines += [f"    {name}: {text}" for name, text in _details(problem)]
        lines += [f"  {kind}: {names}" for kind, names in self._parameters()]
        for row in self.effect:
            lines.append(f"  {row.name}: {row.before} → {row.after} ({row.change})")
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])

    def to_html(self) -> str:
        """The same with inline styles, in the colours of the page around it."""
        colour = GOOD if self.ok else BAD
        mark = f'<b style="color:{colour}">{"✓" if self.ok else "✗"}</b>'
        parts = [f'<div style="{_FONT}">{mark} <b>{html.escape(self.title)}</b>']
        parts.append(f'<span style="opacity:.7">{html.escape(self._facts())}</span></div>')
        parts += [self._problem_html(problem) for problem in self.problems]
        if self.effect:
            parts.append(_effect_html(self.effect))
        rows = [
            f'<div><span style="color:{GOOD if kind == "new" else BAD if kind == "dropped" else QUIET}">{kind}</span> '
            f'<code style="background:none">{html.escape(names)}</code></div>'
            for kind, names in self._parameters()
        ]
        parts += [f'<div style="margin-top:4px">{"".join(rows)}</div>'] if rows else []
        parts += [f'<div style="opacity:.7">{html.escape(note)}</div>' for note in self.notes]
        if self.diff:
            parts.append(
                '<details style="margin-top:4px"><summary style="cursor:pointer;opacity:.75">changes</summary>'
                f"{diff_html(self.diff)}</details>"
            )
        return f'<div class="dk-edit-report" style="{_BOX.format(colour)}{_FONT}">{"".join(parts)}</div>'

    def _facts(self) -> str:
        added, removed = diff_counts(self.diff)
        facts = [f"+{added} −{removed}"] if added or removed else []
        facts += [f"{self.seconds:.1f} s"] if self.seconds is not None else []
        return f" · {' · '.join(facts)}" if facts else ""

    def _where(self, problem: PatchProblem) -> str:
        return "" if problem.line is None else f"{self.place} {problem.line}: "

    def _lines(self, problem: PatchProblem) -> list[str]:
        return self.excerpt.get(problem.line or 0, "").splitlines()

    def _parameters(self) -> list[tuple[str, str]]:
        if not (self.new or self.dropped):
            return []  # an edit that leaves the parameters alone need not list them
        named = [("new", self.new), ("kept", self.kept), ("dropped", self.dropped)]
        return [(kind, _listed(names)) for kind, names in named if names]

    def _problem_html(self, problem: PatchProblem) -> str:
        where = html.escape(self._where(problem))
        details = "".join(
            f'<div><span style="opacity:.7">{name}</span> {html.escape(text)}</div>' for name, text in _details(problem)
        )
        code = "\n".join(self._lines(problem))
        excerpt = (
            '<pre style="margin:3px 0;padding:4px 8px;background:rgba(216,67,67,.1);border-radius:4px;overflow:auto;'
            f'color:inherit">{html.escape(code)}</pre>'
            if code
            else ""
        )
        said = f'<span style="color:{BAD};font-weight:600">{where}</span>{html.escape(problem.message)}'
        return f'<div style="margin-top:6px">{said}{excerpt}{details}</div>'


def in_cell(report: EditReport, above: int) -> EditReport:
    """The report with lines counted as a cell counts them.

    Args:
        report: about a text.
        above: lines of the cell above that text.
    """
    problems = [replace(each, line=None if each.line is None else each.line + above) for each in report.problems]
    excerpt = {line + above: text for line, text in report.excerpt.items()}
    return replace(report, problems=problems, excerpt=excerpt, place="cell line")


def _details(problem: PatchProblem) -> list[tuple[str, str]]:
    told = (
        ("expected", problem.expected),
        ("received", problem.received),
        ("likely cause", problem.cause),
        ("what to do", problem.fix),
    )
    return [(name, text) for name, text in told if text]


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _effect_html(effect: Sequence[Measure]) -> str:
    cell = 'style="padding:1px 14px 1px 0;text-align:right;white-space:nowrap"'
    row_look = 'style="background:none"'
    rows = [
        f'<tr {row_look}><td style="padding:1px 14px 1px 0;text-align:left">{html.escape(row.name)}</td>'
        f"<td {cell}>{html.escape(row.before)}</td>"
        f"<td {cell}>{html.escape(row.after)}</td>"
        f'<td {cell}><span style="color:{_colour(row.better)}">{html.escape(row.change)}</span></td></tr>'
        for row in effect
    ]
    titles = "".join(f"<td {cell}>{title}</td>" for title in ("before", "after", "change"))
    head = f'<tr style="opacity:.7;background:none"><td></td>{titles}</tr>'
    return f'<table style="border-collapse:collapse;margin:6px 0 0;font-size:inherit">{head}{"".join(rows)}</table>'


def _colour(better: bool | None) -> str:
    return "inherit" if better is None else GOOD if better else BAD


@dataclass(frozen=True, kw_only=True)
class PastEdit:
    """An edit that took effect.

    Attributes:
        number: place in the history, from 1.
        patch: the edit.
        time: when, seconds since 1970.
        step: training step after which it was applied; None outside a training.
        reverted: whether it was taken back since.
        problem: why it was taken back by itself, in the form of `DarkitError.to_dict`.
    """

    number: int
    patch: Patch
    time: float
    step: int | None = None
    reverted: bool = False
    problem: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class EditHistory:
    """The edits of a model or run, as a table.

    Attributes:
        applied: oldest first.
        name: of what was edited.
    """

    applied: Sequence[PastEdit]
    name: str = "the model"

    def __repr__(self) -> str:
        if not self.applied:
            return f"No edits of {self.name}."
        return "\n".join(" ".join(part for part in row if part) for row in self._rows())

    def _repr_html_(self) -> str:
        if not self.applied:
            return f"<div>{html.escape(repr(self))}</div>"
        rows = []
        for one, (number, what, mark, when) in zip(self.applied, self._rows(), strict=True):
            colour = QUIET if one.reverted else GOOD
            rows.append(
                f'<details style="{_FONT}"><summary style="cursor:pointer"><b>{number}</b> {html.escape(what)} '
                f'<span style="color:{colour};font-weight:600">{html.escape(mark)}</span> '
                f'<span style="opacity:.7">{when}</span>'
                f"</summary>{diff_html(one.patch.diff)}</details>"
            )
        return "".join(rows)

    def _rows(self) -> list[tuple[str, str, str, str]]:
        return [
            (
                str(one.number),
                one.patch.note or one.patch.label,
                _mark(one),
                f"at step {one.step}" if one.step is not None else f"{datetime.fromtimestamp(one.time):%H:%M}",
            )
            for one in self.applied
        ]


def _mark(past: PastEdit) -> str:
    if not past.reverted:
        return "applied"
    return f"reverted by itself: {past.problem.get('message')}" if past.problem else "reverted"


def excerpts(problems: Sequence[PatchProblem], source: str) -> dict[int, str]:
    """The line of each problem, without its indentation."""
    lines = source.splitlines()
    wanted = {problem.line for problem in problems if problem.line is not None}
    return {line: lines[line - 1].strip() for line in wanted if 0 < line <= len(lines)}
