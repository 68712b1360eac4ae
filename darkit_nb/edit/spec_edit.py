"""Change what a spiking neuron is asked to do: levels, steps, threshold, surrogate. Without code, and with undo."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from darkit_nb.edit.history import Undo
from darkit_nb.edit.lineage import original_class
from darkit_nb.edit.source import find_module, plain_module
from darkit_nb.errors import ConfigError, PatchError
from darkit_nb.functional.surrogate import SURROGATES
from darkit_nb.nn.gif import GIF
from darkit_nb.nn.neuron import PLIF, IntegerLIF, TemporalNeuron
from darkit_nb.nn.packed_linear import PackedSpikeLinear
from darkit_nb.ops.backend import resolve_backend
from darkit_nb.records.patch import Patch

_OF_THE_MODEL = {"attention", "include", "exclude"}
"""Fields that choose modules; they say nothing of one that was chosen."""

_OF_TRAINING = {"weight_bits", "reselect_every"}
"""Fields that a packed layer keeps as it was made: its weight is coded, and nothing is chosen again while it trains."""

_CHOICE = {"num_steps", "salient_fraction", "saliency"}
"""Fields that a choice of salient features was made under."""


def editable_fields(module: nn.Module) -> dict[str, Any]:
    """The settings of a spiking module that can be changed, with their values; empty where it does not spike."""
    if isinstance(module, GIF):
        fixed = _OF_THE_MODEL | (_OF_TRAINING if isinstance(module, PackedSpikeLinear) else set())
        return {name: value for name, value in module.spec.to_dict().items() if name not in fixed}
    if not isinstance(module, TemporalNeuron):
        return {}
    names = ["reset", "surrogate", "alpha", "detach_reset", "decay_input", "backend"]
    if isinstance(module, IntegerLIF):
        names = ["max_count", "detach_reset", "decay_input", "backend"]
    decay, threshold = (_number(value) for value in module.constants())
    return {"decay": decay, "threshold": threshold, **{name: getattr(module, name) for name in names}}


def make_spec_patch(model: nn.Module, paths: str | Iterable[str], *, note: str = "", **changes: Any) -> Patch:
    """An edit of the spike settings of some modules.

    Args:
        model: the model.
        paths: dotted path of a spiking module, or several; a module that holds spiking ones stands for all of them.
        note: what to say about it.
        changes: fields of `SpikeSpec`, or of a temporal neuron: `num_levels=4`, `threshold=0.8`, `surrogate="atan"`.

    Raises:
        PatchError: no such module, none that spikes, or a field it does not have.
        ConfigError: a value that has no meaning.
    """
    model = plain_module(model)
    chosen: dict[str, nn.Module] = {}
    for path in [paths] if isinstance(paths, str) else paths:
        chosen |= _spiking_below(path, find_module(model, path))
    if not chosen or not changes:
        raise PatchError(
            "There is nothing to change here.",
            expected="a module that spikes, and at least one setting",
            received=f"{paths!r} with {', '.join(changes) or 'no settings'}",
            fix="see spiking_modules(model) for what spikes",
        )
    for path, module in chosen.items():
        _check(path, module, changes)
    kind = original_class(type(next(iter(chosen.values()))))
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in changes.items()}
    return Patch(
        kind="spec", targets=tuple(chosen), module=kind.__module__, class_name=kind.__qualname__, spec=plain, note=note
    )


class SpecChange(Undo):
    """Gives one spiking module other settings, and later the very ones it had.

    A change that the salient features depend on has them chosen again, from the statistic gathered so far where it is
    of the same kind. A learned decay or threshold begins anew at the given value, and what it was comes back.

    Args:
        path: of the module.
        module: GIF, SpikeLinear, or a temporal neuron.
        changes: settings by name.
    """

    def __init__(self, path: str, module: nn.Module, changes: Mapping[str, Any]) -> None:
        self.path, self.module = path, module
        self.changes = dict(changes)
        self.before: dict[str, Any] = {}
        self.after: dict[str, Any] = {}
        self.tensors: dict[str, Tensor] = {}
        _check(path, module, changes)

    def make(self) -> None:
        """Change the settings."""
        if isinstance(self.module, GIF):
            self._change_spec(self.module)
        elif isinstance(self.module, TemporalNeuron):
            self._change_neuron(self.module)

    def check(self) -> None:
        """The settings are those this change gave."""
        now = {name: vars(self.module).get(name) for name in self.after}
        if now != self.after:
            raise PatchError(
                f"The spike settings of {self.path or 'the model'} were changed by other means since.",
                expected=str(self.after),
                received=str(now),
                fix="undo that change first",
            )

    @torch.no_grad()
    def revert(self) -> None:
        """The settings as they were, the very object, and the tensors this change had written to."""
        vars(self.module).update(self.before)
        for name, value in self.tensors.items():
            getattr(self.module, name).copy_(value)

    def _change_spec(self, module: GIF) -> None:
        spec = dataclasses.replace(module.spec, **self.changes)
        again = any(getattr(spec, name) != getattr(module.spec, name) for name in _CHOICE)
        self.before = {"spec": module.spec}
        anew = again and module.gathers and (spec.saliency == "energy") != (module.spec.saliency == "energy")
        if again:
            self._keep("salient")
        if anew:
            self._keep("statistic", "forwards")
            self.before["_seen"] = module._seen
            module.statistic.zero_()
            module.forwards.zero_()
            module._seen = None
        module.spec = spec
        self.after = {"spec": spec}
        if again and module.mask is not None:
            module.choose() if module.gathers and int(module.forwards) else module.choose_without_data()

    def _change_neuron(self, module: TemporalNeuron) -> None:
        for name, value in self.changes.items():
            if isinstance(module, PLIF) and name in ("decay", "threshold"):
                learned = "decay_logit" if name == "decay" else "log_threshold"
                self._keep(learned)
                start = math.log(value / (1 - value)) if name == "decay" else math.log(value)
                with torch.no_grad():
                    getattr(module, learned).fill_(start)
            else:
                self.before[name] = getattr(module, name)
                self.after[name] = value
                setattr(module, name, value)

    def _keep(self, *names: str) -> None:
        self.tensors |= {name: getattr(self.module, name).detach().clone() for name in names}


def _spiking_below(path: str, module: nn.Module) -> dict[str, nn.Module]:
    if editable_fields(module):
        return {path: module}
    below = {name: each for name, each in module.named_modules() if editable_fields(each)}
    return {f"{path}.{name}" if path else name: each for name, each in below.items()}


def _check(path: str, module: nn.Module, changes: Mapping[str, Any]) -> None:
    """Whether these settings exist for a module and have a meaning together."""
    known = editable_fields(module)
    unknown = [name for name in changes if name not in known]
    if unknown:
        cause, fix = _why_not(module, set(unknown))
        raise PatchError(
            f"{path or 'The model'} has no such setting.",
            expected=", ".join(known) or "a module that spikes",
            received=", ".join(unknown),
            cause=cause,
            fix=fix,
        )
    if isinstance(module, GIF):
        spec = dataclasses.replace(module.spec, **changes)
        resolve_backend(spec.backend, module.salient.device)  # here, and not at the next forward
    elif isinstance(module, TemporalNeuron):
        _check_neuron(module, known | dict(changes))


def _why_not(module: nn.Module, unknown: set[str]) -> tuple[str | None, str | None]:
    """Cause and way out, where a setting belongs elsewhere."""
    if _OF_THE_MODEL & unknown:
        return "patterns and attention belong to the whole model", "spikify the model anew for these"
    if _OF_TRAINING & unknown and isinstance(module, PackedSpikeLinear):
        return "the weight of this layer was coded and packed when the model was converted", "convert the model anew"
    return None, None


def _check_neuron(module: TemporalNeuron, wanted: Mapping[str, Any]) -> None:
    learned = isinstance(module, PLIF)
    decay, threshold, count = wanted["decay"], wanted["threshold"], wanted.get("max_count", 1)
    faults = {
        "decay": not _is_number(decay) or not 0 <= decay <= 1 or (learned and decay in (0, 1)),
        "threshold": not _is_number(threshold) or not 0 < threshold < math.inf,
        "reset": wanted.get("reset", "soft") not in ("soft", "hard"),
        "surrogate": wanted.get("surrogate") not in (None, *SURROGATES),
        "max_count": not isinstance(count, int) or count < 1,
        "alpha": wanted.get("alpha") is not None and not (_is_number(wanted["alpha"]) and wanted["alpha"] > 0),
    }
    wrong = [name for name, fault in faults.items() if fault]
    if wrong:
        raise ConfigError(
            f"{wrong[0]} cannot have this value.",
            expected={
                "decay": "a number in [0, 1], strictly inside where it is learned",
                "threshold": "a number above 0",
                "reset": "soft or hard",
                "surrogate": f"one of {', '.join(SURROGATES)}",
                "max_count": "a whole number, 1 or more",
                "alpha": "a number above 0, or None",
            }[wrong[0]],
            received=repr(wanted[wrong[0]]),
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(value: float | Tensor) -> float:
    return float(torch.as_tensor(value).detach().float().mean())
