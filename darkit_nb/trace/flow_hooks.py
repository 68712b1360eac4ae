"""The steps of one level by looking on: which tensor came from where, told by the tensors themselves."""

from __future__ import annotations

import sys
from typing import Any

from torch import nn
from torch.overrides import TorchFunctionMode, resolve_name

from darkit_nb.trace.flow_fold import Step
from darkit_nb.trace.kinds import class_name_of
from darkit_nb.trace.source import source_of
from darkit_nb.trace.values import named_arguments, specs_of, tensors_in


class Finished(BaseException):
    """The level has returned, and what comes after it is not needed. Not an `Exception`: models catch those."""


class FlowLooker(TorchFunctionMode):
    """Notes operators and calls of submodules while the module at `path` runs for the first time.

    Args:
        model: whole model.
        path: the level.
        lines: file, first and last line of its forward.

    Attributes:
        steps: in the order they ran.
        modules: what it wants to hear of, through `before` and `after`.
    """

    def __init__(self, model: nn.Module, path: str, lines: tuple[str, int, int]) -> None:
        super().__init__()
        self.steps: list[Step] = []
        self._path, self._lines = path, lines
        self._running = False
        self._inside = 0
        self._called = 0
        self._made: dict[int, int] = {}
        self._kept: list[Any] = []  # a tensor that is freed would give its id to another
        self._handling: BaseException | None = None  # an error that was dealt with when the level was called
        self._level = model.get_submodule(path)
        prefix = f"{path}." if path else ""
        self.modules = [
            (name, module) for name, module in model.named_modules() if module is self._level or name.startswith(prefix)
        ]

    def before(self, name: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """The level or a module inside it is about to run."""
        if module is self._level:
            self._running, self._handling = True, sys.exc_info()[1]
            for key, tensor in tensors_in(named_arguments(source_of(type(module)).arguments, args, kwargs)):
                self._make(Step("input", key), tensor)
            return
        if self._running and self._inside == 0:
            last = name.rpartition(".")[2]
            sources = self._sources([args, kwargs])
            self._make(Step("module", last, class_name_of(module), name, self._line(), sources), None)
            self._called = len(self.steps) - 1
        self._inside += self._running

    def after(self, name: str, module: nn.Module, output: Any) -> None:
        """It returned, or raised."""
        error = sys.exc_info()[1]
        if module is not self._level:
            self._inside -= self._running
            if self._running and self._inside == 0:
                self._note(self._called, output)
        elif error is None or error is self._handling:
            results = list(tensors_in(output))
            for key, tensor in results:
                label = "output" if len(results) == 1 else f"output {key}"
                self._make(Step("output", label, inputs=self._sources(tensor)), None)
            raise Finished

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if self._running and self._inside == 0 and any(True for _ in tensors_in(out)):
            own = getattr(func, "__name__", "")
            label = getattr(func.__self__, "__name__", own) if own == "__get__" else own.strip("_")
            full = resolve_name(func) or label
            self._make(
                Step("operator", label, full, line=self._line(), inputs=self._sources([args, kwargs or {}])), out
            )
        return out

    def _make(self, step: Step, value: Any) -> None:
        self.steps.append(step)
        self._note(len(self.steps) - 1, value)

    def _note(self, place: int, value: Any) -> None:
        self._kept.append(value)
        for _, tensor in tensors_in(value):
            self._made[id(tensor)] = place

    def _sources(self, value: Any) -> list[tuple[int, Any]]:
        found = [tensor for _, tensor in tensors_in(value) if id(tensor) in self._made]
        return [(self._made[id(tensor)], specs_of(tensor)[0]) for tensor in found]

    def _line(self) -> int:
        file, first, last = self._lines
        frame = sys._getframe(1)
        while frame is not None:
            if frame.f_code.co_filename == file and first <= frame.f_lineno <= last:
                return frame.f_lineno
            frame = frame.f_back
        return 0
