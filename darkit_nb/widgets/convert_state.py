"""What the first page of the conversions' panel shows at one moment, as plain data."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from darkit_nb.config.conversion_draft import SPEC_FIELDS, CheckedSpec, SpecDraft, usual_bits
from darkit_nb.config.yaml_text import inline
from darkit_nb.errors import DarkitError
from darkit_nb.records.conversion import ConversionPlan
from darkit_nb.runs.conversion_files import work_folder
from darkit_nb.views.conversion_steps import bits_about, conversion_steps
from darkit_nb.views.numbers import duration, short
from darkit_nb.widgets.base import problem_of
from darkit_nb.widgets.convert_scoring import SCORING_FIELDS, ScoringDraft
from darkit_nb.widgets.convert_source import ConvertSource
from darkit_nb.widgets.form_field import error_data

_TILES = (
    ("blocks", "Decoder blocks, converted one after the other"),
    (
        "memory",
        "Weights of one block and what surrounds them, and the cached activations of the calibration text; "
        "the libraries take some hundred MB more",
    ),
    ("disk", "The converted model and the blocks kept while it is made"),
    ("time", "On this machine; nothing is known of models that train first"),
)


def setup_state(
    draft: SpecDraft,
    checked: CheckedSpec,
    text: str,
    found: ConvertSource | DarkitError,
    scoring: ScoringDraft,
    *,
    command: str,
    python: str,
    compare: Sequence[Mapping[str, Any]],
    seen: Mapping[str, int],
) -> dict[str, Any]:
    """Fields, errors, steps and commands.

    Args:
        draft: preset, bits and changes.
        checked: what validation says about them.
        text: of the model's field.
        found: the model, or why there is none.
        scoring: the text that is scored.
        command: the line that does the same; empty while something is wrong.
        python: the same as Python.
        compare: pipelines it may be compared with.
        seen: by view, the number of the last edit that is contained in this.
    """
    spec = checked.spec
    problems = {**checked.problems, **scoring.problems}
    ready = spec is not None and isinstance(found, ConvertSource) and not scoring.problems
    recipes = {"Shell": command, "Python": python, "Settings": _settings(draft, checked)} if ready else {}
    return {
        "texts": {
            "source": text,
            **{key: draft.text(key) for key in SPEC_FIELDS},
            **{key: scoring.text(key) for key in SCORING_FIELDS},
        },
        "off": list(draft.off),
        "changed": [*draft.changed, *scoring.changed],
        "errors": {key: error_data(key, problem) for key, problem in problems.items() if key != "bits"},
        "recipes": [{"name": name, "text": recipe} for name, recipe in recipes.items()],
        "note": {"facts": [], "fits": True, "fix": None},
        "undo": None,
        "seen": dict(seen),
        "source": text,
        "source_facts": found.facts if isinstance(found, ConvertSource) else "",
        "source_error": {"brief": found.message, **problem_of(found)} if isinstance(found, DarkitError) else None,
        "pipeline": draft.pipeline,
        "bits": draft.bits or usual_bits(draft.pipeline),
        "bits_about": bits_about(spec) if spec is not None else "",
        "bits_error": error_data("bits", checked.problems["bits"]) if "bits" in checked.problems else None,
        "compare": [dict(each) for each in compare],
        "steps": [step.to_dict() for step in conversion_steps(spec)] if spec is not None else [],
        "ready": ready,
    }


def _settings(draft: SpecDraft, checked: CheckedSpec) -> str:
    return json.dumps(checked.spec.to_dict(), indent=2) if checked.spec is not None else ""


def plan_data(stage: str, plan: ConversionPlan | None, problem: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The plan in four numbers and in words.

    Args:
        stage: none, planning, ready, failed, or old: made for other settings.
        plan: None before there is one.
        problem: why there is none.
    """
    values = ["–"] * len(_TILES)
    if plan is not None:
        seconds = plan.seconds_estimate
        values = [
            str(plan.blocks),
            f"{short(float(plan.memory_bytes))}B",
            f"{short(float(plan.disk_bytes))}B",
            "–" if seconds is None else "< 1 s" if seconds < 1 else f"≈ {duration(seconds)}",
        ]
    tiles = [
        {"name": name, "value": value, "about": about} for (name, about), value in zip(_TILES, values, strict=True)
    ]
    return {
        "stage": stage,
        "tiles": tiles,
        "lines": [] if plan is None else list(plan.lines),
        "problem": None if problem is None else dict(problem),
    }


def folder_for(folder: Path, source: str, spec_name: str) -> Path:
    """A folder for a new model, named after what it is made of; one that is not taken."""
    words = f"{Path(source).name}-{spec_name}"
    name = re.sub(r"[^a-z0-9.]+", "-", words.lower()).strip("-.")[:80] or "converted"
    tried, number = folder / name, 1
    while tried.exists() or work_folder(tried).exists():
        number += 1
        tried = folder / f"{name}-{number}"
    return tried


def command_line(
    source: str, out: Path, draft: SpecDraft, options: Mapping[str, Any], compare: Sequence[str] = ()
) -> str:
    """The line that converts the same way, quoted for a POSIX shell."""
    words = ["darkit-nb", "convert", source, str(out), "--pipeline", draft.pipeline]
    words += ["--bits", draft.bits] if draft.bits else []
    for name, value in options.items():
        words += [f"--{name.replace('_', '-')}", str(value)]
    words += ["--compare", ",".join(compare)] if compare else []
    words += [f"{key}={value if isinstance(value, str) else inline(value)}" for key, value in draft.changed.items()]
    return shlex.join(words)


def python_code(
    source: str, out: Path, draft: SpecDraft, options: Mapping[str, Any], compare: Sequence[str] = ()
) -> str:
    """Python that converts the same way, in the background."""
    spike = {key.partition(".")[2]: value for key, value in draft.changed.items() if key.startswith("spike.")}
    plain = {key: value for key, value in draft.changed.items() if not key.startswith("spike.")}
    changes = {**plain, **({"spike": spike} if spike else {})}
    given = [repr(draft.pipeline), *([f"bits={draft.bits!r}"] if draft.bits else [])]
    given += [f"{key}={value!r}" for key, value in changes.items()]
    asked = "".join(f", {name}={value!r}" for name, value in options.items())
    head = "import darkit_nb as dk\n"
    start = (
        "conversion = dk.Conversion.start(request)  # returns at once; it outlives the notebook\nconversion.wait()\n"
    )
    if compare:
        head += "from darkit_nb.runs.conversion_queue import alternatives, queue_conversions\n"
        start = (
            f"others = alternatives(request, {list(compare)!r})\n"
            "conversions = queue_conversions([request, *others])  # returns at once; they outlive the notebook\n"
            "for conversion in conversions:\n    conversion.wait()\n"
        )
    return (
        f"{head}\nspec = dk.conversion_preset({', '.join(given)})\n"
        f"request = dk.ConversionRequest(source={source!r}, out={str(out)!r}, spec=spec{asked})\n"
        f"{start}model = dk.load_model({str(out)!r})"
    )
