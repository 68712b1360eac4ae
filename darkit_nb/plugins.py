"""The one door for built-ins and third parties: a registry per kind, filled by Python entry points.

An entry point of group `darkit_nb.<kind>` names a function that takes the registry of that kind and registers entries:

    # pyproject.toml of a plug-in          [project.entry-points."darkit_nb.neuron"]
    #                                       mine = "my_package:register"
    def register(registry):
        registry.add(Entry("my-neuron", "What it is, in one line.", "my_package.neuron:build"))

Entries are descriptions: the dotted path of the builder is imported only when something is built, so forms and
validation never load a model. A plug-in that fails is reported in `Registry.failures` and isolated.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Literal

from darkit_nb.errors import PluginError

Kind = Literal["model", "neuron", "dataset", "tokenizer", "block", "metric", "edit", "display"]
KINDS: tuple[Kind, ...] = ("model", "neuron", "dataset", "tokenizer", "block", "metric", "edit", "display")

_NAME = re.compile(r"[a-z0-9][a-z0-9._/-]{0,63}")


@dataclass(frozen=True)
class Entry:
    """A torch-free description of something that can be built.

    Attributes:
        name: Lower case letters, digits, `.`, `_`, `-`, `/`; unique in its registry.
        description: One line for forms and lists.
        builder: `package.module:callable`, imported when needed.
        options: Whatever the kind's builder wants to know, as plain data.
    """

    name: str
    description: str
    builder: str
    options: dict[str, Any] = field(default_factory=dict)

    def load(self) -> Callable[..., Any]:
        """Import the builder.

        Raises:
            PluginError: the module or the name in it does not exist, or importing it raised.
        """
        module, _, attribute = self.builder.partition(":")
        try:
            return getattr(import_module(module), attribute)
        except Exception as error:
            raise PluginError(
                f"The builder of {self.name!r} cannot be imported.",
                expected="a dotted path 'package.module:callable'",
                received=f"{self.builder!r}, which raised {type(error).__name__}: {error}",
                fix="reinstall or repair the plug-in that registered it",
            ) from error

    def option(self, name: str, kind: type) -> Any:
        """One of the options.

        Args:
            name: its name.
            kind: what it has to be.

        Raises:
            PluginError: the entry has none of that name, or another kind of thing under it.
        """
        value = self.options.get(name)
        if isinstance(value, kind):
            return value
        raise PluginError(
            f"The plug-in entry {self.name!r} is not complete.",
            expected=f"an option {name!r}, a {kind.__name__}",
            received=f"a {type(value).__name__}" if name in self.options else f"options {sorted(self.options)}",
            cause=f"whoever registered {self.builder} left it out",
            fix="complete its Entry(…, options={…}), or choose another one",
        )


class Registry:
    """The entries of one kind."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.failures: dict[str, str] = {}
        self._entries: dict[str, Entry] = {}

    def add(self, entry: Entry) -> None:
        """Register an entry.

        Raises:
            PluginError: a malformed name, or one that is taken.
        """
        if not _NAME.fullmatch(entry.name) or ".." in entry.name:
            raise PluginError(
                f"A {self.kind} cannot be called {entry.name!r}.",
                expected="1 to 64 of a-z 0-9 . _ - /, starting with a letter or digit, without '..'",
                received=repr(entry.name),
            )
        if entry.name in self._entries and self._entries[entry.name] != entry:
            raise PluginError(
                f"The {self.kind} {entry.name!r} is registered twice.",
                expected="a name of its own for every entry",
                received=f"{entry.builder} beside {self._entries[entry.name].builder}",
                fix="rename one of them, or uninstall one of the two plug-ins",
            )
        self._entries[entry.name] = entry

    def get(self, name: str) -> Entry:
        """The entry of that name.

        Raises:
            PluginError: there is none; the nearest names and failed plug-ins are listed.
        """
        if name in self._entries:
            return self._entries[name]
        near = get_close_matches(name, self._entries, n=3, cutoff=0.5)
        broken = "; ".join(f"{plugin}: {why}" for plugin, why in self.failures.items())
        raise PluginError(
            f"There is no {self.kind} called {name!r}.",
            expected=f"one of {', '.join(sorted(self._entries))}",
            received=repr(name),
            cause=f"these plug-ins failed to load: {broken}" if broken else None,
            fix=f"did you mean {' or '.join(map(repr, near))}?" if near else None,
        )

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[Entry]:
        return iter(sorted(self._entries.values(), key=lambda entry: entry.name))

    def __len__(self) -> int:
        return len(self._entries)


@cache
def registry(kind: Kind) -> Registry:
    """The registry of one kind, filled from the installed entry points the first time it is asked for."""
    filled = Registry(kind)
    for point in sorted(
        entry_points(group=f"darkit_nb.{kind}"), key=lambda point: (point.name != "builtin", point.name)
    ):
        try:
            point.load()(filled)
        except Exception as error:  # noqa: BLE001 - a foreign plug-in may raise anything and must not take us down
            filled.failures[f"{point.name} ({point.value})"] = f"{type(error).__name__}: {error}"
    return filled


def import_modules(names: list[str], base: Path | None = None) -> None:
    """Import the modules a configuration lists under `plugins`, which register themselves.

    Args:
        names: Dotted module names.
        base: Folder put on the import path first, so that a module beside a notebook is found.

    Raises:
        PluginError: a name is malformed, or the import raised; the message carries the reason.
    """
    if base is not None and str(base) not in sys.path:
        sys.path.insert(0, str(base))
    for name in names:
        if not all(part.isidentifier() for part in name.split(".")):
            raise PluginError(
                f"{name!r} is not the name of a module.",
                expected="a dotted module name such as 'my_package.neurons'",
                received=repr(name),
                fix="give the import name, not a path",
            )
        try:
            import_module(name)
        except Exception as error:
            raise PluginError(
                f"The plug-in {name!r} failed while being imported.",
                expected="a module that imports and registers its entries",
                received=f"{type(error).__name__}: {error}",
                cause="it is not installed in this environment, or it has a fault of its own",
                fix=f"try `python -c 'import {name}'` and repair what it says",
            ) from error
