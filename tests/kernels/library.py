"""The C++ library built for tests, with sanitisers or with one place changed, and programs run on such a build."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from darkit_nb.ops.native_build import FLAGS, LEVELS, ONCE, source_folder
from tests.conftest import need

QUICK = ("-O1",)


@dataclass(frozen=True)
class Sanitiser:
    """What a library is built with, and what a process that runs it needs.

    Attributes:
        flags: of the compiler.
        runtimes: libraries that have to be there before all others.
        options: environment.
    """

    flags: tuple[str, ...]
    runtimes: tuple[str, ...]
    options: dict[str, str]


# Leaks are the interpreter's.
MEMORY = Sanitiser(
    ("-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
    ("libasan.so", "libubsan.so"),
    {"ASAN_OPTIONS": "detect_leaks=0"},
)
THREADS = Sanitiser(("-g", "-O1", "-fsanitize=thread"), ("libtsan.so",), {"TSAN_OPTIONS": "halt_on_error=1"})


@dataclass(frozen=True)
class Edit:
    """One place of one file changed."""

    name: str
    old: str
    new: str


class Builds:
    """Libraries built in one folder. What an edit does not reach is compiled once for all of them."""

    def __init__(self, folder: Path) -> None:
        need("g++", shutil.which("g++") is not None, "g++ is not on the PATH")
        self.folder = folder

    def library(self, flags: tuple[str, ...], *edits: Edit) -> Path:
        """Path of the library with these flags more, as it stands or with places changed."""
        origin = source_folder()
        assert origin is not None
        texts = {path.name: path.read_text() for path in origin.iterdir() if path.suffix in (".cpp", ".h")}
        for edit in edits:
            assert edit.old in texts[edit.name], f"{edit.old!r} is not in {edit.name} any more"
            texts[edit.name] = texts[edit.name].replace(edit.old, edit.new)
        place = self.folder / _digest(*texts.values(), *flags)
        if not (place / "library.so").exists():
            place.mkdir(exist_ok=True)
            for name, text in texts.items():
                (place / name).write_text(text)
            objects = [
                self._object(place / name, level, flags, texts)
                for name in sorted(texts)
                for level in (LEVELS if name not in ONCE else ("baseline",))
                if name.endswith(".cpp")
            ]
            command = ["g++", "-shared", *flags, *map(str, objects), "-o", str(place / "library.so"), "-lpthread"]
            subprocess.run(command, check=True)
        return place / "library.so"

    def _object(self, source: Path, level: str, flags: tuple[str, ...], texts: dict[str, str]) -> Path:
        command = ["g++", *FLAGS, *LEVELS[level], *flags, f"-DDK_LEVEL={level}", "-c"]
        found = self.folder / f"{_digest(*command, *_included(source.name, texts))}.o"
        if not found.exists():
            subprocess.run([*command, str(source), "-o", str(found)], check=True)
        return found


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:24]


def _included(name: str, texts: dict[str, str]) -> list[str]:
    """The text of a file and of every file it takes in."""
    found, names = [], [name]
    for each in names:  # grows meanwhile
        found.append(texts[each])
        names += [inner for inner in re.findall(r'#include "([^"]+)"', texts[each]) if inner not in names]
    return found


def prove(
    library: Path, *arguments: str, sanitiser: Sanitiser | None = None, seconds: int
) -> subprocess.CompletedProcess[str]:
    """Run `tests.kernels.library_proof` on a library, in a process of its own, which may die."""
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    if sanitiser is not None:
        runtimes = [_runtime(name) for name in sanitiser.runtimes]
        need("libasan", all(path.is_file() for path in runtimes), "g++ has no sanitiser libraries")
        env |= {"LD_PRELOAD": " ".join(map(str, runtimes)), **sanitiser.options}
    command = [sys.executable, "-m", "tests.kernels.library_proof", str(library), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=seconds)


def _runtime(name: str) -> Path:
    done = subprocess.run(["g++", f"-print-file-name={name}"], capture_output=True, text=True, check=True)
    return Path(done.stdout.strip())
