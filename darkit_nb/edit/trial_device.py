"""Would an edit hold on a GPU? Asked without one: on the meta device, where tensors left on the CPU stand out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.overrides import TorchFunctionMode

from darkit_nb.edit.trial_lines import Lines, line_of
from darkit_nb.edit.trial_problems import device_fault
from darkit_nb.records.patch import PatchProblem
from darkit_nb.trace.values import tensors_in

_MAY_MIX = {"__getitem__", "__setitem__", "__get__", "__set__", "to", "copy_", "type", "index_put_", "index_put"}
"""Operations that take tensors of two devices: moving, copying, and indices, which may lie on the CPU."""


class _MeetingError(RuntimeError):
    """Tensors of two devices in one operation."""


class _Meetings(TorchFunctionMode):
    """Stops where an operation is given tensors of two devices. Some of them take that on the meta device."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Look at the arguments of one operation, then do it."""
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") not in _MAY_MIX:
            tensors = [tensor for _, tensor in tensors_in([list(args), dict(kwargs)])]
            devices = {tensor.device.type for tensor in tensors if tensor.dim()}  # a lone number may lie anywhere
            if len(devices) > 1:
                raise _MeetingError(f"{' and '.join(sorted(devices))} in {getattr(func, '__name__', func)}")
        return func(*args, **kwargs)


def device_problem(
    before: Callable[[], Any], after: Callable[[], Any], lines: Lines, folder: str, device: str
) -> tuple[PatchProblem | None, str | None]:
    """A line where tensors of two devices meet; or why that cannot be told.

    Args:
        before, after: run the module as it was, and edited, on the meta device, and return the output.
        lines: followed while the edited one runs.
        folder: where the files of the edit are.
        device: kind of device the live module is on, for the message.
    """
    with _Meetings():
        try:
            before()
        except Exception as error:  # noqa: BLE001 - whatever the original cannot do without data is no fault of the edit
            return None, f"devices could not be checked: {_said(error)}"
        with lines:
            try:
                output = after()
            except Exception as error:  # noqa: BLE001 - the edit may raise anything
                if not isinstance(error, _MeetingError) and "expected device" not in str(error):
                    return None, f"devices could not be checked: {_said(error)}"
                return device_fault(_said(error).replace("meta", device), line_of(error, folder)), None
    left = next((tensor for _, tensor in tensors_in(output) if tensor.device.type != "meta"), None)
    if left is None:
        return None, None
    return device_fault(f"an output on {left.device.type}, with a model on {device}", lines.returned), None


def _said(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
