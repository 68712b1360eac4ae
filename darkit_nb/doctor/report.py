"""The doctor's findings as a record, and their text."""

from __future__ import annotations

import json
import textwrap
from dataclasses import asdict, dataclass
from typing import Any, Literal

Level = Literal["ok", "absent", "fault"]
_MARKS = {"ok": "✓", "absent": "·", "fault": "✗"}


@dataclass(frozen=True, kw_only=True)
class Check:
    """One finding.

    Attributes:
        name: What was looked at.
        level: `ok`; `absent`: something optional that is not there; `fault`: training does not work like this.
        found: What is there, in one line.
        fix: The line that mends it, where there is something to mend.
    """

    name: str
    level: Level
    found: str
    fix: str | None = None


@dataclass(frozen=True, kw_only=True)
class DoctorReport:
    """All findings about one machine.

    Attributes:
        checks: In the order they are shown.
    """

    checks: tuple[Check, ...]

    @property
    def ready(self) -> bool:
        """Whether nothing that training needs is missing."""
        return all(check.level != "fault" for check in self.checks)

    def __getitem__(self, name: str) -> Check:
        return next(check for check in self.checks if check.name == name)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"schema": 1, "ready": self.ready, "checks": [asdict(check) for check in self.checks]}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> DoctorReport:
        """The inverse of `to_dict`."""
        return cls(checks=tuple(Check(**check) for check in data["checks"]))

    def to_json(self) -> str:
        """The report as indented JSON."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False)

    def to_text(self, width: int = 100) -> str:
        """The report for a terminal: one line per finding, and below it the line that mends it."""
        column = max(len(check.name) for check in self.checks)
        lines: list[str] = []
        for check in self.checks:
            head = f"{_MARKS[check.level]} {check.name:{column}}  "
            lines += textwrap.wrap(head + check.found, width, subsequent_indent=" " * (column + 4)) or [head]
            if check.fix:
                lines.append(f"{' ' * (column + 4)}→ {check.fix}")
        faults = sum(check.level == "fault" for check in self.checks)
        verdict = (
            "Everything that training needs is here." if not faults else f"{faults} to mend before training works."
        )
        return "\n".join([*lines, "", verdict])

    def __str__(self) -> str:
        return self.to_text()
