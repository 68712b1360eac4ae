"""Check an edit before anything changes: by its text, then on copies of the modules alone in a process of their own."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from darkit_nb.edit.apply import fitting, target_modules
from darkit_nb.edit.constructor import Place, constructor_arguments
from darkit_nb.edit.effect import measure_effect
from darkit_nb.edit.init_change import changes_init
from darkit_nb.edit.lineage import original_class
from darkit_nb.edit.recording import Recording, Subject, record_inputs
from darkit_nb.edit.source import class_text, known_globals, plain_module
from darkit_nb.edit.static_check import static_problems
from darkit_nb.edit.trial import TIME_LIMIT_S, TrialReport, TrialSession, trial_session
from darkit_nb.errors import DarkitError
from darkit_nb.records.patch import Patch, PatchProblem, Validation
from darkit_nb.trace.inputs import device_of


def validate(
    model: nn.Module,
    patch: Patch,
    *,
    recorded: Recording | None = None,
    inputs: Any = None,
    tokenizer: Any = None,
    time_limit_s: float = TIME_LIMIT_S,
    memory_limit_bytes: int | None = None,
    session: TrialSession | None = None,
    device: str | None = None,
    arguments: Mapping[str, Any] | None = None,
    effect: bool = False,
) -> Validation:
    """Everything that can be known of an edit before it is applied. The model stays bit for bit as it is.

    Args:
        model: the live model.
        patch: the edit.
        recorded: what its targets are called with, from `record_inputs`; otherwise one forward finds out. Of targets
            that are alike only the first is tried.
        inputs: for that forward; a few tokens where none are given.
        tokenizer: for inputs that are a text.
        time_limit_s: for each module that is tried.
        memory_limit_bytes: what the edit may take; by default 2 GB and room for a few copies of the module.
        session: the process to try in; by default one that is shared and stays warm.
        arguments: of the constructor, as for `apply`.
        effect: whether to measure loss, spikes and speed before and after, once all checks passed. That runs the edit
            in this process, on the same inputs.
        device: kind of device the edit has to hold on, by default the model's; only the CPU computes in a trial.

    Raises:
        PatchError: the patch names a module that is not there, or no trial can be made.
    """
    began = time.monotonic()
    plain = plain_module(model)
    targets = target_modules(plain, patch.targets)
    groups = _alike(targets)
    problems = [*_by_text(targets, patch)] or [*_by_base(targets, patch)]
    held = recorded
    if not problems and held is None:
        try:
            held = record_inputs(plain, [paths[0] for paths in groups], inputs, tokenizer=tokenizer)
        except DarkitError as error:
            problems = [_told("inputs", error)]
    reports: dict[tuple[str, ...], TrialReport] = {}
    if not problems and held is not None:
        tries = session or trial_session()
        kind = device or device_of(plain).type
        for paths, module in groups.items():
            calls = held.calls.get(paths[0], ())
            if not calls and type(module).forward is not nn.Module.forward:
                problems = [_unused(paths[0])]
                break
            known = _arguments(Place(plain, paths[0], module), patch, arguments or {})
            subject = Subject(module, calls, paths[0], getattr(plain, "config", None), known)
            report = tries.run(
                subject, patch, device=kind, time_limit_s=time_limit_s, memory_limit_bytes=memory_limit_bytes
            )
            reports[paths] = report
            if report.problems:
                problems = [*report.problems]
                break
    return Validation(
        ok=not problems,
        problems=tuple(problems),
        new=_names(reports, "new"),
        kept=_names(reports, "kept"),
        dropped=_names(reports, "dropped"),
        notes=tuple(dict.fromkeys(note for report in reports.values() for note in report.notes)),
        effect=measure_effect(plain, patch, inputs, tokenizer=tokenizer) if effect and not problems else None,
        seconds=time.monotonic() - began,
    )


def check_facts(module: nn.Module) -> dict[str, Any]:
    """What `static_problems` has to know of a module, as plain data: its keyword arguments besides the text."""
    kind = type(module)
    return {
        "known_names": sorted(known_globals(kind)),
        "class_name": original_class(kind).__name__,
        "attributes": sorted({*dir(module), *vars(module)}) if kind.__getattr__ is nn.Module.__getattr__ else [],
        "parameters": [name for name, _ in (*module.named_parameters(), *module.named_buffers())],
    }


def _by_text(targets: dict[str, nn.Module], patch: Patch) -> Iterator[PatchProblem]:
    if patch.kind == "code":
        first = next(iter(targets.values()))
        yield from static_problems(patch.source, patch.base, **check_facts(first))


def _by_base(targets: dict[str, nn.Module], patch: Patch) -> Iterator[PatchProblem]:
    """Whether the class is still the one the patch was made from, or can be merged with what it is now."""
    if patch.kind != "code":
        return
    for path, module in targets.items():
        try:
            fitting(patch, type(module), path)
        except DarkitError as error:
            yield _told("base", error)
            return


def _arguments(place: Place, patch: Patch, given: Mapping[str, Any]) -> dict[str, Any]:
    """What the module's constructor was given, as far as the model tells; a module alone cannot say all of it."""
    kind = type(place.module)
    if patch.kind != "code" or not changes_init(class_text(kind)[0], patch.source, original_class(kind).__name__):
        return {}
    try:
        return {**constructor_arguments(place, kind, {}, line=True), **given}
    except DarkitError:
        return dict(given)


def _told(check: str, error: DarkitError) -> PatchProblem:
    return PatchProblem(
        check=check,
        message=error.message,
        line=getattr(error, "line", None),
        expected=error.expected,
        received=error.received,
        cause=error.cause,
        fix=error.fix,
    )


def _alike(targets: dict[str, nn.Module]) -> dict[tuple[str, ...], nn.Module]:
    """Targets that do not differ in class, shapes or dtypes, by their paths: the first of each is tried."""
    found: dict[Any, list[str]] = {}
    for path, module in targets.items():
        shapes = tuple((name, each.shape, each.dtype) for name, each in module.named_parameters())
        found.setdefault((type(module), shapes), []).append(path)
    return {tuple(paths): targets[paths[0]] for paths in found.values()}


def _unused(path: str) -> PatchProblem:
    return PatchProblem(
        check="inputs",
        message=f"{path} does not run with these inputs, so the edit cannot be tried.",
        expected="inputs that make the model use the module",
        received="no call",
        cause="it is used in training only, or for other inputs, as an expert of a mixture",
        fix="pass inputs that reach it: inputs=…",
    )


def _names(reports: Mapping[tuple[str, ...], TrialReport], which: str) -> tuple[str, ...]:
    """Names of parameters in the model, for all modules like the one that was tried."""
    found = ((path, name) for paths, report in reports.items() for path in paths for name in getattr(report, which))
    return tuple(f"{path}.{name}" if path else name for path, name in found)
