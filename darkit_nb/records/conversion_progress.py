"""How far a conversion is: what a command line or a panel shows of it, read from its folder at any moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from darkit_nb.records.conversion import BlockReport, ConversionPlan
from darkit_nb.records.conversion_result import ConversionRow


@dataclass(frozen=True, kw_only=True)
class ConversionProgress:
    """One conversion now.

    Attributes:
        id: name of the conversion's folder.
        name: pipeline and bits, such as `darkit W4A4`.
        source, out: what is converted, and the folder of the converted model.
        state: as of a run: created, queued, starting, running, finished, stopped, failed or lost.
        place: among those that wait in its folder, 1 for the next; None where it does not wait.
        reason: why it ended, or why it counts as lost.
        problem: why it failed, in the form of `DarkitError.to_dict`.
        stage: what it is doing, in words; None when it is not at work.
        blocks_done, blocks: decoder blocks; `blocks` is None before the plan is made.
        windows_done, windows: of the evaluation that is going on; None outside one.
        plan: None before it is made.
        reports: of the blocks that are done, in order.
        rows: the float model and the converted one, once each is evaluated.
        elapsed_s: of the newest attempt.
        eta_s: seconds left for the blocks, at the mean pace of those done in this attempt; None where unknown.
    """

    id: str
    name: str
    source: str
    out: str
    state: str
    place: int | None = None
    reason: str | None = None
    problem: Mapping[str, Any] | None = None
    stage: str | None = None
    blocks_done: int = 0
    blocks: int | None = None
    windows_done: int | None = None
    windows: int | None = None
    plan: ConversionPlan | None = None
    reports: tuple[BlockReport, ...] = ()
    rows: tuple[ConversionRow, ...] = ()
    elapsed_s: float | None = None
    eta_s: float | None = None

    @property
    def active(self) -> bool:
        """Whether a process is at work on it."""
        return self.state in ("starting", "running")

    @property
    def fraction(self) -> float:
        """Share of the blocks that are done, 0 to 1."""
        return self.blocks_done / self.blocks if self.blocks else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON and widgets."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {
            **plain,
            "problem": None if self.problem is None else dict(self.problem),
            "plan": None if self.plan is None else self.plan.to_dict(),
            "reports": [report.to_dict() for report in self.reports],
            "rows": [row.to_dict() for row in self.rows],
            "fraction": self.fraction,
            "active": self.active,
        }
