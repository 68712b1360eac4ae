"""A configuration at a glance: what differs from the defaults, what is wrong, and the lines that run it."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass

from darkit_nb.config import Problem, RunConfig, key_table

_BOX = "border:1px solid rgba(128,128,128,.45);border-radius:6px;padding:10px 12px;font:13px/1.5 system-ui,sans-serif"
_PRE = (
    "margin:4px 0 0;padding:6px 8px;background:rgba(128,128,128,.12);border-radius:4px;"
    "white-space:pre-wrap;overflow-wrap:anywhere;font-size:12px"
)


@dataclass(frozen=True)
class ConfigCard:
    """What a form shows, without the form.

    Attributes:
        changed: Key → value as text, of everything that is not the default.
        problems: Key → what is wrong there.
        recipes: Title → what to type; empty while something is wrong.
        note: What the run will take.
    """

    changed: Mapping[str, str]
    problems: Mapping[str, Problem]
    recipes: Mapping[str, str]
    note: str

    def to_text(self) -> str:
        """Plain text for a terminal."""
        width = max((len(key) for key in self.changed), default=0)
        lines = ["Configuration: " + ("these settings differ from the defaults" if self.changed else "all defaults")]
        lines += [f"  {key:{width}}  {value}".rstrip() for key, value in self.changed.items()]
        if self.problems:
            lines += ["", "Not valid yet"]
            lines += [f"  {key or 'all'}: {brief(key, problem)}" for key, problem in self.problems.items()]
        if self.note:
            lines += ["", self.note]
        for title, text in self.recipes.items():
            lines += ["", title, *("  " + line for line in text.splitlines())]
        return "\n".join(lines)

    def to_html(self) -> str:
        """The same with inline styles, in the colours of the page around it."""
        rows = "".join(
            f'<tr><td style="padding:1px 16px 1px 0;text-align:left"><code>{html.escape(key)}</code></td>'
            f'<td style="text-align:left">{html.escape(value)}</td></tr>'
            for key, value in self.changed.items()
        )
        table = (
            f'<table style="border-collapse:collapse;margin:4px 0">{rows}</table>'
            if rows
            else "<div>all defaults</div>"
        )
        wrong = "".join(
            f'<div style="color:#d33"><code>{html.escape(key or "all")}</code> {html.escape(brief(key, problem))}</div>'
            for key, problem in self.problems.items()
        )
        recipes = "".join(
            f'<div style="margin-top:8px">{html.escape(title)}<pre style="{_PRE}">{html.escape(text)}</pre></div>'
            for title, text in self.recipes.items()
        )
        note = f'<div style="opacity:.75">{html.escape(self.note)}</div>' if self.note else ""
        return f'<div style="{_BOX}"><strong>Configuration</strong>{table}{wrong}{note}{recipes}</div>'


def brief(key: str, problem: Problem) -> str:
    """One line to stand beside a field: what is accepted, or what does not go together."""
    if not problem.expected or not problem.message.startswith(f"{problem.key} cannot be "):
        return problem.message
    setting = key_table(RunConfig).get(problem.key)
    kind = {"integer": "an integer", "number": "a number"}.get(setting.kind, "") if setting else ""
    needed = f"{kind} {setting.limits}".strip() if setting and kind else problem.expected
    return f"needs {needed}" if problem.key == key else f"{problem.key} needs {needed}"
