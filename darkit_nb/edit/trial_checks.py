"""The trial of an edit: runs in a child process, on a copy of the module alone, with what the module was called with.

The copy is unpacked twice: one stays as it was and says what is expected, the other is edited.
"""

from __future__ import annotations

import ast
import dataclasses
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from darkit_nb.edit.apply import apply
from darkit_nb.edit.class_text import edited_class, methods_of
from darkit_nb.edit.lineage import original_class
from darkit_nb.edit.packing import unpack
from darkit_nb.edit.recording import Subject
from darkit_nb.edit.trial_device import device_problem
from darkit_nb.edit.trial_gradient import forward_line, gradient_problems, gradients, no_gradient
from darkit_nb.edit.trial_harm import Guard, input_changed, not_finite, seed_problems, tensors_of
from darkit_nb.edit.trial_lines import Harm, Lines
from darkit_nb.edit.trial_problems import failed
from darkit_nb.edit.trial_run import Run, Runner
from darkit_nb.edit.trial_spikes import spike_problem
from darkit_nb.edit.trial_values import Difference, difference, finite
from darkit_nb.errors import PatchError
from darkit_nb.records.patch import Patch, PatchProblem

_NUDGE = 0.05
_FIXES = {
    "shape": "return the shape the next module needs; x.view or a projection brings it back",
    "dtype": "convert the result: return y.to(x.dtype)",
    "device": "make new tensors on the device of the input: torch.zeros(…, device=x.device)",
    "output": "return what forward returned before, in the same order",
}


@dataclass
class Outcome:
    """What a trial found: the problems of the first check that failed, and the parameters of the edit."""

    problems: list[PatchProblem] = field(default_factory=list)
    new: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return dataclasses.asdict(self)


class Trial:
    """One edit of one module.

    Args:
        data: `pack`ed mapping of `subject`, `patch`, `cells`, and `device`, the kind of device the live module is on.
        folder: where the file of the edit goes.
        told: takes `{"stage": …}`, what is being checked, and `{"pace": …}`, seconds that the class takes as it was.
        line: told each line of the edit before it runs.
    """

    def __init__(
        self,
        data: bytes,
        folder: str,
        told: Callable[[dict[str, Any]], None],
        line: Callable[[int], None] | None = None,
    ) -> None:
        self._data, self._folder, self._told, self._line = data, folder, told, line
        self._stage("copy")
        parts = self._unpacked()
        subject: Subject = parts["subject"]
        self._before = self._after = subject.module
        self._runner, self._called = Runner(subject.calls), bool(subject.calls)
        self._device: str = parts["device"]
        self._patch = dataclasses.replace(Patch.from_dict(parts["patch"]), targets=(subject.path,))
        home = sys.modules.get(original_class(type(self._before)).__module__)
        self._homes = [] if home is None or home.__name__ == "__main__" else [home]
        self._outcome = Outcome()

    def run(self) -> Outcome:
        """All checks in order, up to the first that fails."""
        checks = {
            "import": self._edit,
            "parameters": self._parameters,
            "forward": self._forward,
            "training": self._training,
            "state": self._seeds,
            "device": self._devices,
        }
        for name, check in checks.items():
            if not self._called and name not in ("import", "parameters"):
                continue  # a list of modules, which is never called
            self._stage(name)
            try:
                self._outcome.problems += check()
            except BaseException as error:  # noqa: BLE001 - an edit may raise anything, SystemExit among it
                self._outcome.problems.append(failed(error, self._folder, name))
            if self._outcome.problems:
                break
        return self._outcome

    def _edit(self) -> list[PatchProblem]:
        guard = Guard(self._homes)
        with self._lines(guard.harm) as lines:
            self._after = self._edited(self._unpacked()["subject"])
        return guard.problems(lines.harmed or lines.last, "when its text is imported")

    def _parameters(self) -> Iterator[PatchProblem]:
        was, now = tensors_of(self._before), tensors_of(self._after)
        same = [name for name in was if name in now and was[name].shape == now[name].shape]
        self._outcome.kept = tuple(same)
        self._outcome.dropped = tuple(name for name in was if name not in same)
        self._outcome.new = tuple(name for name in now if name not in same)
        for name in same:
            if was[name].dtype != now[name].dtype:
                yield PatchProblem(
                    check="parameters",
                    message=f"{name} has another dtype than before.",
                    expected=str(was[name].dtype),
                    received=str(now[name].dtype),
                    fix="leave the dtype out where it is made",
                )

    def _forward(self) -> Iterator[PatchProblem]:
        began = time.monotonic()
        before = self._runner.run(self._before)
        self._told({"pace": time.monotonic() - began})
        with torch.no_grad():  # as the runner has it, so that it is no change
            guard = Guard(self._homes, self._after)
            with self._lines(guard.harm) as lines:
                after = self._runner.run(self._after)
            found = guard.problems(lines.harmed or lines.last, "when forward runs")
        yield from found
        yield from self._same_output(before, after, lines)
        if after.inputs.written() - before.inputs.written():
            yield input_changed(self._runner, self._after, lines)
        spikes = spike_problem(before.fired, after.fired, lines.returned)
        yield from [spikes] if spikes else []

    def _training(self) -> Iterator[PatchProblem]:
        before = self._runner.run(self._before, training=True, gradient=True)
        with self._lines() as lines:
            after = self._runner.run(self._after, training=True, gradient=True)
        yield from self._same_output(before, after, lines)
        self._stage("backward")
        expected = gradients(self._before, before)
        if not expected:  # it gives none by itself, as the angles of a rotary embedding
            return
        try:
            found = gradients(self._after, after)
        except Exception as error:  # noqa: BLE001 - the backward of an edit may be its own, and raise anything
            problem = failed(error, self._folder, "backward")
            yield dataclasses.replace(problem, line=problem.line or self._backward_line())
            return
        if found:
            new = self._outcome.new
            yield from gradient_problems(expected, found, self._nudged, self._backward_line, new, self._patch)
        else:
            yield no_gradient(self._patch)

    def _seeds(self) -> list[PatchProblem]:
        return seed_problems(self._runner, self._after, self._lines())

    def _devices(self) -> Iterator[PatchProblem]:
        if self._device == "cpu":
            return
        was, now = (self._unpacked("meta")["subject"] for _ in range(2))
        runner, edited = Runner(was.calls), self._edited(now)
        problem, note = device_problem(
            lambda: runner.run(was.module).outputs,
            lambda: runner.run(edited).outputs,
            self._lines(),
            self._folder,
            self._device,
        )
        self._outcome.notes += [note] if note else []
        yield from [problem] if problem else []

    def _stage(self, name: str) -> None:
        self._told({"stage": name})

    # -- parts of checks -------------------------------------------------------------------------------------------

    def _same_output(self, before: Run, after: Run, lines: Lines) -> Iterator[PatchProblem]:
        found = difference(before.outputs[0], after.outputs[0]) or difference(before.outputs, after.outputs)
        if found is not None:
            yield _output_problem(found, lines.returned)
        elif finite(before.outputs) and not finite(after.outputs):
            yield not_finite(self._runner, self._after, lines)

    def _backward_line(self) -> int | None:
        return forward_line(lambda: self._runner.run(self._after, training=True, gradient=True), self._folder)

    def _nudged(self) -> dict[str, Tensor | None]:
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for name, each in self._after.named_parameters():
                if name in self._outcome.new:
                    each.add_(_NUDGE * torch.randn(each.shape, generator=generator))
        return gradients(self._after, self._runner.run(self._after, training=True, gradient=True))

    def _unpacked(self, device: str = "cpu") -> dict[str, Any]:
        """The parts once more. Classes of cells come anew each time, without their globals."""
        parts = unpack(self._data, device)
        parts["cells"].put()
        return parts

    def _edited(self, subject: Subject) -> nn.Module:
        model = _bare_model(subject)
        try:
            apply(model, self._patch, folder=self._folder)
        except PatchError:
            given = _taken(subject.arguments, self._patch)
            if not given:
                raise
            apply(model, self._patch, folder=self._folder, arguments=given)
        return subject.module

    def _lines(self, harm: Harm | None = None) -> Lines:
        return Lines(self._folder, self._line, harm)


def _bare_model(subject: Subject) -> nn.Module:
    """A model with nothing in it but the module, at its path."""
    model = inside = subject.module if not subject.path else nn.Module()
    if subject.path:
        model.config = subject.config
        *above, last = subject.path.split(".")
        for name in above:
            inside.add_module(name, nn.Module())
            inside = inside.get_submodule(name)
        inside.add_module(last, subject.module)
    return model


def _taken(arguments: Mapping[str, Any], patch: Patch) -> dict[str, Any]:
    """Those of the known arguments that the edited `__init__` takes."""
    node = edited_class(ast.parse(patch.source), patch.class_name.rpartition(".")[2])
    init = methods_of(node).get("__init__") if node else None
    if init is None or init.args.kwarg is not None:
        return dict(arguments)
    names = {each.arg for each in (*init.args.args, *init.args.kwonlyargs)}
    return {name: value for name, value in arguments.items() if name in names}


def _output_problem(found: Difference, line: int | None) -> PatchProblem:
    what = {"shape": "has another shape", "dtype": "has another dtype", "device": "is on another device"}
    said = what.get(found.check, "is not what it was")
    return PatchProblem(
        check=found.check,
        message=f"{found.where[0].upper()}{found.where[1:]} {said}: {found.received} instead of {found.expected}.",
        line=line,
        expected=found.expected,
        received=found.received,
        cause="the rest of the model takes what the class returned before",
        fix=_FIXES[found.check],
    )
