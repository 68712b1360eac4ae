"""One line of `events.jsonl` as people read it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from darkit_nb.views.edit_marks import edit_text

Tone = Literal["", "good", "warn", "bad"]

_HIDDEN = {"request", "patches"}
_TONES: dict[str, Tone] = {"finished": "good", "stopped": "warn", "failed": "bad"}
_DONE = {
    "stop": "stop asked for",
    "checkpoint": "checkpoint asked for",
    "patch": "the edit holds in its first step",
    "revert": "taken out as asked",
}


def event_line(event: Mapping[str, Any]) -> dict[str, Any] | None:
    """Time, step, what happened and its tone; None for what only machines care about."""
    kind = event.get("kind")
    if not isinstance(kind, str) or kind in _HIDDEN:
        return None
    text, tone = _told(kind, event)
    step = event.get("step")
    return {
        "time": event.get("time"),
        "step": step if isinstance(step, int) else None,
        "kind": kind,
        "text": text,
        "tone": tone,
    }


def event_lines(events: Iterable[Mapping[str, Any]], limit: int = 100) -> list[dict[str, Any]]:
    """The last `limit` of them, oldest first."""
    return [line for line in map(event_line, events) if line is not None][-limit:]


def _told(kind: str, event: Mapping[str, Any]) -> tuple[str, Tone]:
    if kind == "attempt":
        number = event.get("attempt")
        return ("started" if number == 1 else f"resumed, attempt {number}"), ""
    if kind == "ack":
        return _acknowledged(event)
    if kind in ("patch", "revert"):
        tone: Tone = {"failed": "bad", "resume": "warn"}.get(str(event.get("reason")), "")  # pyright: ignore[reportAssignmentType]
        return edit_text(event), tone
    if kind == "backend":
        return f"backend {event.get('name')}: {event.get('reason')}", ""
    said = event.get("message") or _first(event.get("problem"))
    return (f"{kind}: {said}" if said else kind.replace("_", " ")), _TONES.get(kind, "")


def _acknowledged(event: Mapping[str, Any]) -> tuple[str, Tone]:
    command = str(event.get("command"))
    found = event.get("validation")
    if event.get("dry_run") and isinstance(found, Mapping):
        return f"an edit was tried and {'would be taken' if found.get('ok') else 'would be refused'}", ""
    if event.get("ok"):
        return _DONE.get(command, f"{command} answered"), ""
    return f"{command} failed: {_first(event.get('problem')) or 'no reason given'}", "bad"


def _first(problem: Any) -> str | None:
    return problem.get("message") if isinstance(problem, Mapping) else None
