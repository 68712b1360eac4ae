"""An edit that changes `__init__`: the module is built again in place and keeps all that still fits."""

from __future__ import annotations

import inspect
import random
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from typing import Any

import numpy as np
import torch
from torch import nn

from darkit_nb.edit.carry import STORES, carry_over
from darkit_nb.edit.class_swap import ClassChange
from darkit_nb.edit.constructor import Place, constructor_arguments
from darkit_nb.edit.lineage import patch_of
from darkit_nb.errors import PatchError


class Rebuild(ClassChange):
    """Runs the edited `__init__` on the module itself, which stays the same object for all who hold it.

    Two instances are compared: one that the class as it was builds, and the living module. What differs was done after
    construction (weights that were loaded, layers that were made spiking, hooks) and is carried over. Parameters of the
    same name and shape stay the same objects. New ones start from values that depend on the patch and the path alone;
    the random state of the program is left as it was.

    Args:
        model: the model.
        path: of the module in it.
        module: what is built again.
        kind: the edited class.
        given: constructor arguments that cannot be found.
    """

    def __init__(self, model: nn.Module, path: str, module: nn.Module, kind: type, given: Mapping[str, Any]) -> None:
        super().__init__(path, module, kind)
        self.seed = int(sha256(f"{getattr(patch_of(kind), 'id', '')}:{path}".encode()).hexdigest()[:8], 16)
        sample = next((each for each in module.parameters() if each.is_floating_point()), None)
        self.device = torch.device("cpu") if sample is None else sample.device
        self.dtype = None if sample is None else sample.dtype
        # Not a plain dict: copies and pickles of it follow the rules of its class.
        self.shell = self.before.__new__(self.before)
        self.kept: dict[str, set[str]] = {}
        place = Place(model, path, module)
        self.reference = self._reference(place, given)
        self.arguments = constructor_arguments(place, kind, given, line=self._line)

    def _reference(self, place: Place, given: Mapping[str, Any]) -> nn.Module:
        """An instance as the class before the edit builds it, with the arguments that give the living one's shapes."""
        mismatch = ""
        for self._line in (False, True):
            arguments = constructor_arguments(place, self.before, _taken(self.before, given), line=self._line)
            reference = self.before.__new__(self.before)
            with self._building():
                self._run(self.before, reference, arguments)
            mismatch = _mismatch(reference, self.module)
            if not mismatch:
                return reference
        raise PatchError(
            f"The arguments that were found for {place.path or 'the model'} do not build it as it is.",
            expected=f"the parameters of the living module: {mismatch}",
            received=", ".join(f"{name}={value!r:.60}" for name, value in arguments.items()),
            cause="it was changed after it was built, or an attribute no longer holds what the constructor was given",
            fix="pass the right ones: apply(model, patch, arguments={…})",
        )

    def make(self) -> None:
        """Build it again. On any error the module is as before."""
        vars(self.shell).update(vars(self.module))
        vars(self.module).clear()
        try:
            self.module.__class__ = self.after
            with self._building():
                self._run(self.after, self.module, self.arguments)
            self.kept = carry_over(vars(self.shell), self.reference, self.module)
        except BaseException:
            self._restore()
            raise
        finally:
            del self.reference

    def revert(self) -> None:
        """The old class and what the edit had replaced; what it had kept stays as training left it."""
        now, saved = dict(vars(self.module)), vars(self.shell)
        where = next(self.module.parameters(), None)
        for store in STORES:
            for name in self.kept[store]:
                if name in now[store]:
                    saved[store][name] = now[store][name]
        for name in self.kept["attributes"]:
            if name in now:
                saved[name] = now[name]
        self._restore()
        self.module.train(now["training"])
        if isinstance(self.module, nn.RNNBase):
            self.module._init_flat_weights()
        if where is not None:
            _bring(self.module, where.device)

    @torch.no_grad()
    def fill_buffers(self) -> None:
        """Values for buffers that are in no file, after a module that was built without memory has got its weights."""
        self.device = next((each.device for each in self.module.parameters()), torch.device("cpu"))
        kind: Any = self.after
        fresh: nn.Module = kind.__new__(kind)
        with self._building():
            self._run(self.after, fresh, self.arguments)
        living = dict(self.module.named_modules())
        for path, built in fresh.named_modules():
            there = living[path]._buffers if path in living else {}
            for name in built._non_persistent_buffers_set:
                value, held = built._buffers.get(name), there.get(name)
                if value is not None and held is not None and held.shape == value.shape:
                    there[name] = value.to(held.dtype)

    def _restore(self) -> None:
        vars(self.module).clear()
        self.module.__class__ = self.before
        vars(self.module).update(vars(self.shell))

    @contextmanager
    def _building(self) -> Iterator[None]:
        """New tensors lie where the module lies, in its dtype, and no random state outside sees them drawn."""
        device = self.device
        python, numpy, dtype = random.getstate(), np.random.get_state(), torch.get_default_dtype()
        try:
            with torch.random.fork_rng([device] if device.type == "cuda" else []), device:
                torch.default_generator.manual_seed(self.seed)
                if device.type == "cuda":
                    torch.cuda.manual_seed(self.seed)
                random.seed(self.seed)
                np.random.seed(self.seed)
                torch.set_default_dtype(self.dtype or dtype)
                yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
            torch.set_default_dtype(dtype)

    def _run(self, kind: type, module: nn.Module, arguments: Mapping[str, Any]) -> None:
        try:
            kind.__init__(module, **arguments)
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)
            file = getattr(sys.modules.get(kind.__module__), "__file__", None)
            lines = [frame.lineno for frame in frames if frame.filename == file]
            said = traceback.format_exception_only(error)[-1].strip()
            raise PatchError(
                f"{kind.__name__}.__init__ fails: {said}.",
                line=lines[-1] if lines and patch_of(kind) else None,
                received=", ".join(f"{name}={value!r:.60}" for name, value in arguments.items()) or "no arguments",
            ) from error


def _taken(kind: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the given arguments that a class takes: an edit may have added some."""
    names = set(inspect.signature(kind.__init__).parameters)
    return {name: value for name, value in given.items() if name in names}


def _mismatch(reference: nn.Module, living: nn.Module) -> str:
    """Parameters of the reference that the living module has not, or has in another shape."""
    shapes = {name: tuple(each.shape) for name, each in living.named_parameters(remove_duplicate=False)}
    for name, each in reference.named_parameters(remove_duplicate=False):
        if shapes.get(name) != tuple(each.shape):
            return f"{name} {list(shapes[name]) if name in shapes else 'is not there'}, not {list(each.shape)}"
    return ""


@torch.no_grad()
def _bring(module: nn.Module, device: torch.device) -> None:
    """Move what comes back to where the rest went meanwhile."""
    for each in module.parameters():
        if each.device != device and not each.is_meta:
            each.data = each.data.to(device)
    for inside in module.modules():
        for name, buffer in inside._buffers.items():
            if buffer is not None and buffer.device != device and not buffer.is_meta:
                inside._buffers[name] = buffer.to(device)
