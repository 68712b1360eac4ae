"""Python source and changes of it as HTML with inline styles, readable on light pages and on dark."""

from __future__ import annotations

import builtins
import html
import io
import keyword
import tokenize

KEYWORD, TEXT, NUMBER, COMMENT, NAME = "#8a63d2", "#2b8a57", "#3b7dd8", "#808893", "#c2702a"
"""Readable on white and on black."""

_ADDED, _REMOVED, _QUIET = "rgba(46,160,87,.16)", "rgba(216,67,67,.14)", "opacity:.6"
_BLOCK = (
    "margin:0;padding:6px 0;overflow:auto;max-height:460px;border:1px solid rgba(128,128,128,.35);border-radius:4px;"
    "font:12.5px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace"
)


def python_html(source: str, *, first_line: int = 1, marked: int | None = None) -> str:
    """A source text with line numbers.

    Args:
        source: Python; what cannot be read is shown without colours.
        first_line: number of its first line.
        marked: number of a line to point at.
    """
    lines = _coloured(source)
    width = len(str(first_line + len(lines) - 1))
    shown = []
    for number, line in enumerate(lines, first_line):
        look = f"background:{_REMOVED}" if number == marked else ""
        shown.append(_line(f'<span style="opacity:.5;user-select:none">{number:>{width}}</span>  {line}', look))
    return f'<pre style="{_BLOCK}">{"".join(shown)}</pre>'


def diff_html(diff: str) -> str:
    """A unified diff."""
    shown = []
    for line in diff.splitlines():
        mark = line[:1]
        if line.startswith(("+++", "---", "@@")):
            look = _QUIET
        else:
            look = f"background:{_ADDED if mark == '+' else _REMOVED}" if mark in ("+", "-") else ""
        shown.append(_line(html.escape(line), look))
    return f'<pre style="{_BLOCK}">{"".join(shown)}</pre>'


def diff_counts(diff: str) -> tuple[int, int]:
    """Lines a unified diff adds and takes away."""
    lines = [line for line in diff.splitlines() if not line.startswith(("+++", "---"))]
    return sum(line.startswith("+") for line in lines), sum(line.startswith("-") for line in lines)


def _line(inside: str, look: str) -> str:
    return f'<div style="padding:0 10px;white-space:pre;{look}">{inside or " "}</div>'


def _coloured(source: str) -> list[str]:
    """Lines of HTML; plain ones where Python cannot take the text apart."""
    lines = source.rstrip("\n").split("\n")
    places: list[list[tuple[int, int, str]]] = [[] for _ in lines]
    try:
        for kind, colour, (row, start), (end_row, end) in _words(source):
            for at in range(row, min(end_row, len(lines)) + 1):
                first, last = (start if at == row else 0), (end if at == end_row else len(lines[at - 1]))
                places[at - 1].append(
                    (first, last, f"color:{colour}" + (";font-style:italic" if kind == "comment" else ""))
                )
    except (tokenize.TokenError, SyntaxError, IndexError):
        return [html.escape(line) for line in lines]
    return [_spans(line, found) for line, found in zip(lines, places, strict=True)]


def _words(source: str) -> list[tuple[str, str, tuple[int, int], tuple[int, int]]]:
    found, before = [], ""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        colour = ""
        if token.type == tokenize.COMMENT:
            colour = COMMENT
        elif token.type == tokenize.STRING or tokenize.tok_name[token.type].startswith("FSTRING"):
            colour = TEXT
        elif token.type == tokenize.NUMBER or token.string in ("True", "False", "None"):
            colour = NUMBER
        elif token.type == tokenize.NAME and keyword.iskeyword(token.string):
            colour = KEYWORD
        elif token.type == tokenize.NAME and (before in ("def", "class") or hasattr(builtins, token.string)):
            colour = NAME
        if colour:
            found.append(("comment" if colour == COMMENT else "word", colour, token.start, token.end))
        before = token.string
    return found


def _spans(line: str, places: list[tuple[int, int, str]]) -> str:
    parts, at = [], 0
    for start, end, look in places:
        parts.append(html.escape(line[at:start]))
        parts.append(f'<span style="{look}">{html.escape(line[start:end])}</span>')
        at = end
    return "".join([*parts, html.escape(line[at:])])
