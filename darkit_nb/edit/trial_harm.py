"""Harm that an edit does without an exception, and the line that did it."""

from __future__ import annotations

from collections.abc import Callable
from types import FrameType
from typing import Any

from torch import Tensor, nn

from darkit_nb.edit.trial_lines import Harm, Lines
from darkit_nb.edit.trial_run import OTHER_SEED, SEED, Runner
from darkit_nb.edit.trial_state import ProcessState, random_states, reseeded
from darkit_nb.edit.trial_values import has_infinity, has_nan
from darkit_nb.records.patch import PatchProblem

_LOOKS = 400
"""Lines after which nothing is compared any more: a loop over many would take for ever."""


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and saved buffers, by dotted name."""
    return {name: value for name, value in module.state_dict(keep_vars=True).items() if isinstance(value, Tensor)}


class Guard:
    """Sees to it that a block changes nothing that is not its own: the process, and the parameters of a module.

    Args:
        modules: Python modules that are not to be changed.
        module: whose parameters are to stay, if any.
    """

    def __init__(self, modules: list[Any], module: nn.Module | None = None) -> None:
        self._state, self._module = ProcessState(modules), module
        self._names = set(tensors_of(module)) if module is not None else set()
        self._looks = 0

    def harm(self, frame: FrameType, returned: Any) -> bool:
        """For `Lines`: whether it was done by now."""
        self._looks += 1
        return self._looks < _LOOKS and bool(self._lost() or self._state.changes())

    def problems(self, line: int | None, when: str) -> list[PatchProblem]:
        """What was changed after all."""
        found = []
        changes, lost = self._state.changes(), self._lost()
        if changes:
            found.append(
                PatchProblem(
                    check="state",
                    message=f"The edit changes the whole process {when}: {', '.join(changes[:4])}.",
                    line=line,
                    expected="an edit that changes its own module only",
                    received=f"changed: {', '.join(changes)}",
                    cause="every other module, and what runs later, would be changed with it",
                    fix="set it in a `with` block that puts it back, or keep it in the module",
                )
            )
        if lost:
            found.append(
                PatchProblem(
                    check="parameters",
                    message=f"Parameters come or go {when}: {', '.join(lost[:4])}.",
                    line=line,
                    expected="the same parameters before and after forward",
                    received=", ".join(lost),
                    cause="an optimizer or a checkpoint made before knows nothing of it",
                    fix="make parameters in __init__, and leave those that are there",
                )
            )
        return found

    def _lost(self) -> list[str]:
        return sorted(self._names ^ set(tensors_of(self._module))) if self._module is not None else []


def not_finite(runner: Runner, module: nn.Module, lines: Lines) -> PatchProblem:
    """The problem of an output with NaN or infinity in it.

    Args:
        runner: runs the module once more, in evaluation mode.
        module: the edited one.
        lines: of the run that was seen; asked where the first NaN comes from.
    """

    def harm(bad: Callable[[Any], bool]) -> Harm:
        def look(frame: FrameType, returned: Any) -> bool:
            values = [*frame.f_locals.values(), returned]
            return any(bad(value) for value in values if isinstance(value, Tensor | tuple | list))

        return look

    # An infinity on the way may be meant, as in a mask; what is not a number never is.
    found = (_line(runner, module, lines, harm(bad)) for bad in (has_nan, has_infinity))
    return PatchProblem(
        check="finite",
        message="The output is not finite.",
        line=next(filter(None, found), lines.returned),
        expected="finite numbers, as the class gave before on the same inputs",
        received="NaN or infinity",
        cause="a division by zero, a root or logarithm of what is not positive, or an overflow",
        fix="bound the argument, as in x.clamp(min=1e-6)",
    )


def input_changed(runner: Runner, module: nn.Module, lines: Lines) -> PatchProblem:
    """The problem of an input that was written into; arguments as in `not_finite`."""
    return PatchProblem(
        check="input",
        message="The edit writes into its input.",
        line=_line(runner, module, lines, lambda frame, returned: bool(runner.inputs.written())),
        expected="an input that is left as it was",
        received="the input is another one after forward",
        cause="the residual connection, or another module, still needs the old values",
        fix="write x = x * 2 instead of x *= 2, or x = x.clone() first",
    )


def seed_problems(runner: Runner, module: nn.Module, lines: Lines) -> list[PatchProblem]:
    """Whether it sets a seed: two runs that begin from different seeds must not end at the same place."""
    ends: list[dict[str, Any]] = []
    trails: list[list[tuple[int, dict[str, Any]]]] = []
    for number in (SEED, OTHER_SEED):
        trail: list[tuple[int, dict[str, Any]]] = []

        def note(frame: FrameType, returned: Any, trail: list[tuple[int, dict[str, Any]]] = trail) -> bool:
            if len(trail) < _LOOKS:
                trail.append((lines.last or frame.f_lineno, random_states()))
            return False

        with lines.again(note) as lines:
            runner.run(module, number=number)
        ends.append(random_states())
        trails.append(trail)
    sources = reseeded(*ends)
    if not sources:
        return []
    pairs = zip(*trails, strict=False)
    line = next((one[0] for one, other in pairs if one[1][sources[0]] == other[1][sources[0]]), None)
    return [
        PatchProblem(
            check="state",
            message=f"The edit sets the seed of the random numbers ({', '.join(sources)}).",
            line=line or lines.last,
            expected="random numbers that go on from where they are",
            received="the same random state after runs from two seeds",
            cause="every step of a training would draw the same numbers, here and in all other modules",
            fix="draw from a torch.Generator of your own",
        )
    ]


def _line(runner: Runner, module: nn.Module, lines: Lines, harm: Harm) -> int | None:
    with lines.again(harm) as again:
        runner.run(module)
    return again.harmed
