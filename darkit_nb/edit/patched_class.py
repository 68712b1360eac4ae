"""The class an edited text defines: written to a file, imported, and standing in for the original."""

from __future__ import annotations
import __future__

import ast
import copyreg
import re
import sys
import traceback
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from darkit_nb.data.cache import cache_root
from darkit_nb.edit.class_text import edited_class
from darkit_nb.edit.lineage import BASE, FOLDER, ORIGINAL, PATCH, PatchedType, original_class, patch_of
from darkit_nb.edit.source import known_globals, own_functions
from darkit_nb.errors import PatchError
from darkit_nb.records.patch import Patch
from darkit_nb.runs.files import sync_folder, write_atomic

_BUILDER = "__darkit_class__"
_OWN = "_darkit_own"


class _Removed:
    """Stands for a name of the original that the edited text no longer has."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, instance: object, owner: type) -> Any:
        raise AttributeError(f"{owner.__name__!r} has no attribute {self.name!r}: the edit took it away")


def load_class(patch: Patch, base_class: type, folder: str | Path) -> type:
    """The class a patch makes of `base_class`, imported from a file in `folder`.

    The file holds the edited text and nothing else, so lines in tracebacks are lines of the edit. The text sees the
    globals of the module the original stands in as they are now, and cannot change them. The same patch of the same
    class gives the same class again.

    Args:
        patch: of kind "code".
        base_class: the class as the modules have it now, itself patched or not.
        folder: where the file goes; made where it is missing.

    Raises:
        PatchError: the text does not compile, fails when it is run, or defines no class that fits.
        RunError: the file cannot be written.
    """
    name = _module_name(patch, base_class)
    module = sys.modules.get(name)
    if module is not None:
        _fill(module, patch.source, base_class)
        return module.__dict__[_OWN][0]
    tree, chosen = _parse(patch, base_class)
    file = write_source(patch, folder)
    _name_builder(chosen)
    module = types.ModuleType(name)
    module.__file__, module.__package__ = str(file), getattr(_home(base_class), "__package__", None)
    known = _fill(module, patch.source, base_class)
    setattr(module, _BUILDER, lambda written=None: _builder(original_class(base_class), written, chosen.name))
    sys.modules[name] = module
    try:
        flags = _future_flags(base_class)
        exec(compile(tree, str(file), "exec", flags=flags, dont_inherit=True), module.__dict__)  # noqa: S102 - the user's edit
        kind = _checked(module.__dict__.get(chosen.name), chosen, base_class)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, PatchError | KeyboardInterrupt):
            raise
        raise _failed(error, str(file)) from error
    delattr(module, _BUILDER)
    _mark(kind, patch, base_class, str(file.parent))
    own = {key for key, value in vars(module).items() if key not in known or known[key] is not value}
    module.__dict__[_OWN] = (kind, own)
    return kind


def write_source(patch: Patch, folder: str | Path) -> Path:
    """Write the edited text where tracebacks and debuggers find it; the file is there whole or not at all.

    Raises:
        RunError: the folder is not writable, or the disk is full.
    """
    name = patch.class_name.rpartition(".")[2]
    file = Path(folder).absolute() / f"{name if name.isidentifier() else 'edit'}_{patch.id}.py"
    try:
        there = file.read_text(encoding="utf-8") == patch.source
    except (OSError, UnicodeDecodeError):
        there = False
    if not there:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(file, patch.source)
        sync_folder(file.parent)
    return file


def restore_class(patch: str, base_class: type, folder: str) -> type:
    """The patched class in another process: what a pickle of one calls."""
    made = Patch.from_json(patch)
    place = Path(folder) if Path(folder).is_dir() else cache_root(None) / "patches"
    return load_class(made, base_class, place)


def _reduce(kind: type) -> Any:
    """How a patched class is pickled: by its patch, so that it loads where nobody imported it before."""
    patch = patch_of(kind)
    if patch is None:
        return kind.__qualname__
    return restore_class, (patch.to_json(), vars(kind)[BASE], vars(kind)[FOLDER])


copyreg.pickle(PatchedType, _reduce)


def _module_name(patch: Patch, base_class: type) -> str:
    """Importable name, by content; numbered where another class of that name is patched, as after a cell ran again."""
    name = f"darkit_patch_{re.sub(r'[^0-9A-Za-z_]', '_', patch.class_name)}_{patch.id}"
    number, chosen = 1, name
    while chosen in sys.modules and vars(sys.modules[chosen].__dict__[_OWN][0])[BASE] is not base_class:
        number += 1
        chosen = f"{name}_{number}"
    return chosen


def _parse(patch: Patch, base_class: type) -> tuple[ast.Module, ast.ClassDef]:
    name = original_class(base_class).__name__
    try:
        tree = ast.parse(patch.source)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        raise PatchError(
            f"The edited text is not Python: {getattr(error, 'msg', error)}.",
            line=line,
            received=(getattr(error, "text", None) or "").strip() or None,
        ) from error
    chosen = edited_class(tree, name)
    if chosen is None:
        raise PatchError(
            f"The edited text has no class for {name}.",
            expected=f"a class {name}, or one that derives from it",
            received=", ".join(node.name for node in tree.body if isinstance(node, ast.ClassDef)) or "no class",
            fix=f"keep the name of the class, or write class Mine({name}): …",
        )
    return tree, chosen


def _name_builder(chosen: ast.ClassDef) -> None:
    """Have the class made by our builder, which is told the metaclass the text names."""
    written = [each.value for each in chosen.keywords if each.arg == "metaclass"]
    place = ast.Name(_BUILDER, ast.Load())
    call = ast.keyword("metaclass", ast.Call(place, written, []))
    chosen.keywords = [*(each for each in chosen.keywords if each.arg != "metaclass"), call]
    for node in ast.walk(call):
        if isinstance(node, ast.expr | ast.keyword) and not hasattr(node, "lineno"):
            ast.copy_location(node, chosen)


def _builder(original: type, written: Any, name: str) -> Callable[..., type]:
    def build(class_name: str, bases: tuple[type, ...], body: dict[str, Any], **keywords: Any) -> type:
        kinds = [*([written] if isinstance(written, type) else []), *map(type, bases), type(original), PatchedType]
        meta = PatchedType
        strange = list(dict.fromkeys(kind for kind in kinds if not issubclass(PatchedType, kind)))
        others = [kind for kind in strange if not any(kind is not each and issubclass(each, kind) for each in strange)]
        if others:
            meta = others[0] if issubclass(others[0], PatchedType) else type("PatchedType", (PatchedType, *others), {})
            copyreg.pickle(meta, _reduce)
        return meta(class_name, bases, {**body, ORIGINAL: original}, **keywords)

    return build


def _fill(module: types.ModuleType, source: str, base_class: type) -> dict[str, Any]:
    """Give a module the globals of the original that its text names, other than those it defines itself."""
    own = module.__dict__.get(_OWN, (None, set()))[1]
    words = set(re.findall(r"\w+", source))
    known = {key: value for key, value in known_globals(base_class).items() if key in words and key not in own}
    vars(module).update(known)
    return known


def _home(base_class: type) -> types.ModuleType | None:
    return sys.modules.get(original_class(base_class).__module__)


def _future_flags(base_class: type) -> int:
    """Whether annotations are left unevaluated where the original stands."""
    flag = __future__.annotations.compiler_flag
    for function in own_functions(original_class(base_class)):
        return function.__code__.co_flags & flag
    home = vars(_home(base_class) or ast)
    return flag if home.get("annotations") is __future__.annotations else 0


def _checked(kind: Any, chosen: ast.ClassDef, base_class: type) -> type:
    if isinstance(kind, PatchedType) and issubclass(kind, original_class(base_class)) and nn.Module in type.mro(kind):
        return kind
    raise PatchError(
        f"{chosen.name} does not end as a class that can stand for {base_class.__name__}.",
        line=chosen.lineno,
        expected=f"a subclass of {', '.join(base.__name__ for base in original_class(base_class).__bases__)}",
        received=repr(kind),
        cause="its bases are no modules, or a decorator or a later line of the text replaced it",
    )


def _failed(error: BaseException, file: str) -> PatchError:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    line = lines[-1] if lines else getattr(error, "lineno", None)
    said = traceback.format_exception_only(error)[-1].strip()
    return PatchError(f"The edited text fails when it is imported: {said}.", line=line, received=said)


def _mark(kind: type, patch: Patch, base_class: type, folder: str) -> None:
    original = original_class(base_class)
    for name, value in ((PATCH, patch), (BASE, base_class), (FOLDER, folder), (ORIGINAL, original)):
        setattr(kind, name, value)
    if original in type.mro(kind):
        return  # it derives from what it edits: everything is inherited
    kept = {name for each in kind.__mro__[: kind.__mro__.index(original)] for name in vars(each)}
    for name in vars(original):
        if name not in kept and not name.startswith("__"):
            setattr(kind, name, _Removed(name))
