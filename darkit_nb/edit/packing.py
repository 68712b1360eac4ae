"""Modules on their way into another process: without hooks, with classes of notebook cells, and onto the CPU.

Only for pipes between a process and its own child. What was packed elsewhere is never unpacked.
"""

from __future__ import annotations

import ast
import copyreg
import io
import linecache
import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle
import torch
from torch import nn

from darkit_nb.edit.lineage import original_class
from darkit_nb.edit.source import known_globals, own_functions
from darkit_nb.errors import PatchError

_HOOKS = frozenset(name for name, value in vars(nn.Module()).items() if "_hooks" in name and not value)
_PROTOCOL = 4


class _Pickler(cloudpickle.Pickler):
    """Leaves hooks behind: they belong to who watches the live model, and may hold all of it."""

    def reducer_override(self, obj: Any) -> Any:
        """How one object is written."""
        if isinstance(obj, nn.Module):
            make, arguments, state, *rest = obj.__reduce_ex__(_PROTOCOL)
            if isinstance(state, dict):
                state = {name: type(each)() if name in _HOOKS else each for name, each in state.items()}
            return make, arguments, state, *rest
        if type(obj) in copyreg.dispatch_table:  # a patched class says itself how it is found again
            return NotImplemented
        return super().reducer_override(obj)


@dataclass(frozen=True)
class Cells:
    """What classes of notebook cells need besides themselves, where their notebook is not.

    Attributes:
        lines: of each cell, by the name Python has for its file.
        qualified: qualified names of classes inside functions or classes, which do not travel with them.
        names: globals an edited text reads, by the class whose module they are in.
    """

    lines: dict[str, list[str]]
    qualified: dict[type, str]
    names: dict[type, dict[str, Any]]

    def put(self) -> None:
        """Make them known in this process."""
        for file, lines in self.lines.items():
            linecache.cache[file] = (sum(map(len, lines)), None, lines, file)
        for kind, name in self.qualified.items():
            kind.__qualname__ = name
        for kind, names in self.names.items():
            for function in own_functions(kind):
                for name, value in names.items():
                    function.__globals__.setdefault(name, value)


def cells_of(module: nn.Module, source: str) -> Cells:
    """For the class of `module`, and the bases and parts it has, and an edited text of it."""
    kinds = {kind for each in module.modules() for kind in type(each).__mro__}
    files = {function.__code__.co_filename for kind in kinds for function in own_functions(kind)}
    lines = {file: linecache.getlines(file) for file in files if not Path(file).exists()}
    qualified = {kind: kind.__qualname__ for kind in kinds if "<locals>" in kind.__qualname__}
    first = original_class(type(module))
    home = sys.modules.get(first.__module__)
    names = {}
    if home is None or getattr(home, "__spec__", None) is None or first in qualified:
        read = {each.id for each in ast.walk(ast.parse(source)) if isinstance(each, ast.Name)}
        known = known_globals(first)
        names[first] = {name: known[name] for name in read if name in known and known[name] is not first}
    return Cells({file: text for file, text in lines.items() if text}, qualified, names)


_WITHOUT_HOOKS = types.SimpleNamespace(__name__=__name__, Pickler=_Pickler)


def pack(value: Any) -> bytes:
    """Bytes of a value with modules and tensors in it.

    Raises:
        PatchError: something in it cannot leave this process.
    """
    written = io.BytesIO()
    try:
        torch.save(value, written, pickle_module=_WITHOUT_HOOKS, pickle_protocol=_PROTOCOL)
    except Exception as error:
        raise PatchError(
            "The module cannot be copied into another process, so the edit cannot be tried.",
            expected="a module made of tensors and plain Python objects",
            received=f"{type(error).__name__}: {str(error).strip()}",
            cause="it holds an open file, a lock, a generator or the like",
            fix="take that object out of the module while it is edited",
        ) from error
    return written.getvalue()


def unpack(data: bytes, device: str = "cpu") -> Any:
    """What `pack` was given, with its tensors on one device."""
    return torch.load(io.BytesIO(data), map_location=device, weights_only=False)
