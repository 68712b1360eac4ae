"""What could stand at the cursor of an edited class: the module's own attributes first, everything else from jedi."""

from __future__ import annotations

import builtins
import keyword
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

Item = tuple[str, str, str, int]
"""Name, kind, a few words about it, and its rank: the higher, the further up."""

MOST = 120
_OWN = re.compile(r"\bself((?:\.\w+|\[\d+\])*)\.(\w*)$")
_CHAIN = re.compile(r"(?<![\w.\])])((?:[A-Za-z_]\w*\.)*)(\w*)$")
_WORD = re.compile(r"\w*$")
_jedi = threading.Lock()  # jedi keeps caches that threads must not share


def complete(
    text: str,
    at: int,
    *,
    namespace: Mapping[str, Any] | None = None,
    around: tuple[str, str] | None = None,
    own: Callable[[str], Sequence[Item]] | None = None,
) -> tuple[int, list[Item]]:
    """Names that fit, and where what they complete begins.

    Args:
        text: the edited text.
        at: place of the cursor in it, in characters.
        namespace: names the text sees, as live objects.
        around: the text of the file before and after the class, where there are no live objects.
        own: attributes of the module at a dotted path below the edited one, "" for itself.
    """
    before = text[:at]
    word = _WORD.search(before)
    start = word.start() if word else at
    typed = before[start:]
    found = _OWN.search(before)
    if found and own is not None:
        path = re.sub(r"\[(\d+)\]", r".\1", found[1]).strip(".")
        items = [item for item in own(path) if item[0].startswith(typed)]
        if items:
            return start, items[:MOST]
    if namespace is not None:
        items = _from_objects(text, before, namespace)
        if items:
            return start, items[:MOST]
    return start, _from_jedi(text, at, namespace, around)


def _from_objects(text: str, before: str, namespace: Mapping[str, Any]) -> list[Item]:
    """What live objects say, in a millisecond: names the text can use, or attributes of what stands before the dot."""
    found = _CHAIN.search(before)
    if not found or not (found[1] or found[2]):
        return []
    way, typed = found[1].rstrip("."), found[2]
    if not way:
        words = {word for word in re.findall(r"[A-Za-z_]\w{2,}", text) if word != typed}
        names = {**dict.fromkeys(words, ("variable", 2)), **dict.fromkeys(keyword.kwlist, ("keyword", 0))}
        names |= {name: (_kind(value), 1) for name, value in vars(builtins).items()}
        names |= {name: (_kind(value), 2) for name, value in namespace.items()}
        return sorted((name, kind, "", rank) for name, (kind, rank) in names.items() if _fits(name, typed))
    head, *rest = way.split(".")
    if head not in namespace:
        return []
    value = namespace[head]
    for part in rest:
        value = getattr(value, part, None)
    if value is None:
        return []
    names = [name for name in dir(value) if _fits(name, typed)]
    return [(name, _kind(getattr(value, name, None)), "", 0) for name in names[:MOST]]


def _fits(name: str, typed: str) -> bool:
    return name.startswith(typed) and (typed.startswith("_") or not name.startswith("_"))


def _kind(value: Any) -> str:
    if isinstance(value, type):
        return "class"
    return "module" if isinstance(value, ModuleType) else "function" if callable(value) else "instance"


def _from_jedi(text: str, at: int, namespace: Mapping[str, Any] | None, around: tuple[str, str] | None) -> list[Item]:
    import jedi

    head, tail = around or ("", "")
    whole, place = head + text + tail, len(head) + at
    line = whole.count("\n", 0, place) + 1
    column = place - (whole.rfind("\n", 0, place) + 1)
    with _jedi:
        script = jedi.Script(whole) if namespace is None else jedi.Interpreter(whole, [dict(namespace)])
        try:
            found = script.complete(line, column)
        except Exception:  # noqa: BLE001  # jedi fails on code it cannot follow; there is then nothing to offer
            return []
        hidden = [each for each in found if not each.name.startswith("_")] or found
        return [(each.name, each.type, "", 0) for each in hidden[:MOST]]


def attributes_of(module: Any, path: str) -> list[Item]:
    """Attributes of a live module or of one below it, without loading PyTorch: what it holds, then its methods."""
    for part in path.split(".") if path else []:
        module = getattr(module, part, None) if not part.isdigit() else getattr(module, "_modules", {}).get(part)
        if module is None:
            return []
    items: list[Item] = []
    for name, child in (getattr(module, "_modules", None) or {}).items():
        items.append((name, "instance", type(child).__name__, 3))
    for held in ("_parameters", "_buffers"):
        for name, tensor in (getattr(module, held, None) or {}).items():
            items.append((name, "instance", "×".join(map(str, getattr(tensor, "shape", ()))) or held[1:-1], 2))
    for name, value in vars(module).items():
        if not name.startswith("_"):
            items.append((name, "instance", type(value).__name__, 1))
    seen = {item[0] for item in items}
    for name in dir(type(module)):
        if not name.startswith("_") and name not in seen:
            kind = "function" if callable(getattr(type(module), name, None)) else "property"
            items.append((name, kind, "", 0))
    return items
