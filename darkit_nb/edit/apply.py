"""Put an edit into a live model, take it back, and know what was done."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn
from torch.optim import Optimizer

from darkit_nb.edit.class_swap import ClassSwap
from darkit_nb.edit.history import Entry, Undo, add_entry, entries
from darkit_nb.edit.init_change import changes_init, derives
from darkit_nb.edit.lineage import original_class
from darkit_nb.edit.merge import merge_texts
from darkit_nb.edit.optimizer import follow, named_by_id, undo
from darkit_nb.edit.patched_class import load_class
from darkit_nb.edit.rebuild import Rebuild
from darkit_nb.edit.source import class_text, find_module, module_source, plain_module
from darkit_nb.edit.spec_edit import SpecChange
from darkit_nb.errors import PatchError
from darkit_nb.records.patch import AppliedPatch, Patch, Validation, text_hash
from darkit_nb.spikify.quantizer import carry_edits

PATCH_FOLDER = Path(".darkit") / "patches"
"""Where files of edits go by default, beside the notebook."""


def make_patch(
    model: nn.Module, path: str, source: str, *, targets: Iterable[str] | None = None, note: str = ""
) -> Patch:
    """The edit that turns the class of `model`'s module at `path` into what `source` says.

    Args:
        model: the model.
        path: dotted path of a module of that class; "" is the model itself.
        source: the edited text: the class, or one that derives from it, and any imports and helpers beside it.
        targets: paths of the modules to change; by default the one at `path`.
        note: what to say about it.

    Raises:
        PatchError: no such module, or no text to begin from.
    """
    before = module_source(model, path)
    chosen = (path,) if targets is None else tuple(dict.fromkeys(targets))
    for target in chosen:
        find_module(plain_module(model), target)
    return Patch(
        kind="code",
        targets=chosen,
        module=before.module,
        class_name=before.class_name,
        base=before.text,
        source=source,
        note=note,
    )


def apply(
    model: nn.Module,
    patch: Patch,
    *,
    optimizer: Optimizer | None = None,
    validation: Validation | None = None,
    folder: str | Path | None = None,
    step: int | None = None,
    arguments: Mapping[str, Any] | None = None,
) -> AppliedPatch:
    """Put a patch into a model: into all of its targets, or, where anything is wrong, into none.

    Modules stay the same objects, with their hooks, state, device and mode; parameters keep their identity, so an
    optimizer goes on with its state.

    Args:
        model: the model; inside torch.compile or data parallelism it is found.
        patch: what to change.
        optimizer: of a training that goes on.
        validation: outcome of checking the patch before; one that failed stops here.
        folder: where the file of the edit goes; by default `.darkit/patches` beside the notebook.
        step: training step, for the history.
        arguments: of the constructor, where `__init__` was edited and they cannot be found in the model.

    Raises:
        PatchError: the patch does not fit this model; nothing was changed.
    """
    if validation is not None and not validation.ok:
        first = validation.problems[0] if validation.problems else None
        raise PatchError(
            "The patch did not pass its checks, so it is not applied.",
            line=first.line if first else None,
            received=str(first) if first else None,
            fix="mend the edit and validate it again",
        )
    plain = plain_module(model)
    before = named_by_id(plain)
    patch, changes = _changes(plain, patch, folder or PATCH_FOLDER, arguments or {})
    done: list[Undo] = []
    try:
        for change in changes:
            change.make()
            done.append(change)
        after = named_by_id(plain)
        moved = optimizer is not None and before.keys() != after.keys()
        groups = follow(optimizer, before, after) if optimizer is not None and moved else None
    except BaseException:
        for each in reversed(done):
            each.revert()
        raise
    applied = AppliedPatch(
        patch=patch,
        number=len(entries(plain)) + 1,
        time=time.time(),
        step=step,
        new=tuple(name for key, (name, _) in after.items() if key not in before),
        kept=tuple(name for key, (name, _) in after.items() if key in before and _inside(name, patch.targets)),
        dropped=tuple(name for key, (name, _) in before.items() if key not in after),
    )
    add_entry(plain, Entry(applied, done, groups))
    carry_edits(plain)
    forget_compiled()
    return applied


def revert(model: nn.Module, *, count: int | None = 1, optimizer: Optimizer | None = None) -> list[AppliedPatch]:
    """Take back the last `count` patches of a model, or all with None; the last first.

    Raises:
        PatchError: fewer were applied, or a module was changed by other means since; nothing was changed.
    """
    plain = plain_module(model)
    live = [entry for entry in entries(plain) if not entry.applied.reverted]
    wanted = len(live) if count is None else count
    if not 0 <= wanted <= len(live) or (count is not None and count < 1):
        raise PatchError(
            "There are not that many patches to take back.",
            expected=f"1 … {len(live)}" if live else "a model with patches",
            received=str(count),
        )
    chosen = live[len(live) - wanted :][::-1]
    _check_last(chosen)
    for entry in chosen:
        before = named_by_id(plain)
        for each in reversed(entry.undo):
            each.revert()
        if optimizer is not None and entry.groups is not None:
            undo(optimizer, entry.groups)
        elif optimizer is not None and before.keys() != (after := named_by_id(plain)).keys():
            follow(optimizer, before, after)  # it was made after the edit, as in a training that was resumed
        entry.undo, entry.groups = [], None
        entry.applied = dataclasses.replace(entry.applied, reverted=True)
    forget_compiled()
    return [entry.applied for entry in chosen]


def history(model: nn.Module) -> tuple[AppliedPatch, ...]:
    """Everything that was applied to a model, in order, taken back since or not."""
    return tuple(entry.applied for entry in entries(plain_module(model)))


def target_modules(model: nn.Module, paths: Sequence[str]) -> dict[str, nn.Module]:
    """The modules at these paths; one that has two names once."""
    found: dict[int, tuple[str, nn.Module]] = {}
    for path in paths:
        module = find_module(model, path)
        found.setdefault(id(module), (path, module))
    return dict(found.values())


def forget_compiled() -> None:
    """Have torch.compile look at the model anew, so that its limit of recompilations counts from here."""
    dynamo = sys.modules.get("torch._dynamo")
    if dynamo is not None:
        dynamo.reset()


def _changes(
    model: nn.Module, patch: Patch, folder: str | Path, arguments: Mapping[str, Any]
) -> tuple[Patch, list[Undo]]:
    """The changes a patch asks for, each checked, none made; and the patch, merged where its base had changed."""
    modules = target_modules(model, patch.targets)
    if patch.kind == "spec":
        return patch, [SpecChange(path, module, patch.spec) for path, module in modules.items()]
    fitted = {type(module): fitting(patch, type(module), path) for path, module in modules.items()}
    texts = {each.id: each for each in fitted.values()}
    if len(texts) > 1:
        raise PatchError(
            "The targets of this patch no longer have the same source, so one merged edit cannot hold for all.",
            expected="targets that were patched alike before",
            received=f"{len(texts)} different sources",
            fix="make one patch for each group of modules, see module_source(model, path).same_class",
        )
    classes = {kind: load_class(each, kind, folder) for kind, each in fitted.items()}
    rebuilt = {
        kind: changes_init(class_text(kind)[0], each.source, original_class(kind).__name__)
        for kind, each in fitted.items()
    }
    return next(iter(texts.values())), [
        Rebuild(model, path, module, classes[type(module)], arguments)
        if rebuilt[type(module)]
        else ClassSwap(path, module, classes[type(module)])
        for path, module in modules.items()
    ]


def _inside(name: str, targets: Sequence[str]) -> bool:
    return any(not target or name.startswith(f"{target}.") for target in targets)


def fitting(patch: Patch, kind: type, path: str) -> Patch:
    """The patch as it fits the class a target has now: merged, where the source changed since it was made.

    An edit that derives from the class holds none of its text, so there is nothing to merge.

    Raises:
        PatchError: the target is of another class, or both sides changed the same lines.
    """
    first = original_class(kind)
    if (first.__module__, first.__qualname__) != (patch.module, patch.class_name):
        raise PatchError(
            f"{path or 'The model'} is not of the class this patch edits.",
            expected=f"{patch.module}.{patch.class_name}",
            received=f"{first.__module__}.{first.__qualname__}",
            fix="choose targets among module_source(model, path).same_class",
        )
    text, _, _ = class_text(kind)
    if text_hash(text) == patch.base_hash or derives(patch.source, first.__name__):
        return patch
    return dataclasses.replace(patch, base=text, source=merge_texts(patch.base, patch.source, text))


def _check_last(chosen: Sequence[Entry]) -> None:
    """Before anything is taken back: the modules are as their last patch left them."""
    seen: set[int] = set()
    for entry in chosen:
        for each in reversed(entry.undo):
            if id(each.module) not in seen:
                each.check()
            seen.add(id(each.module))
