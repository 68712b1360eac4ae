"""Builds the CPU library of `kernels/cpu`, finds what was built, and says why there is none.

Run by `make setup`, by an editable installation and by `darkit-nb doctor --build`; never while something is imported or
computed. Imports neither torch nor this package, so that an installation can run the file by itself.

    python -m darkit_nb.ops.native_build            build, unless it is built already
    python -m darkit_nb.ops.native_build --status   one line of JSON: what is there
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent
SOURCE_FOLDERS = (PACKAGE / "kernels" / "cpu", PACKAGE.parent / "kernels" / "cpu")
"""Inside the wheel, and beside the package in a checkout."""
COMPILERS = ("g++", "clang++", "c++")
BUILD = "darkit-nb doctor --build"

# No flag here changes a result: no errno after sqrt, no trapping of NaN, and above all no fused multiply-add.
FLAGS = (
    *("-std=c++17", "-O3", "-fPIC", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off"),
    *("-fno-exceptions", "-fno-rtti", "-fvisibility=hidden"),
)
LEVELS: dict[str, tuple[str, ...]] = {"baseline": ()}
"""Instruction sets every computing file is compiled for, in the order of `dk_level`, with their flags."""
if platform.machine() in ("x86_64", "AMD64"):
    LEVELS["avx2"] = ("-mavx2",)
    LEVELS["avx512"] = ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mprefer-vector-width=512")
ONCE = ("level.cpp", "memory.cpp")
"""Files that compute nothing: compiled once, for every processor."""


@dataclass(frozen=True)
class NativeState:
    """Whether the library can be used; if not, why, and the line that repairs it.

    Attributes:
        works: whether it loads here.
        finding: what was found.
        fix: a command, where there is one.
        path: the library.
        level: the widest instruction set of this processor.
    """

    works: bool
    finding: str
    fix: str | None = None
    path: str | None = None
    level: str | None = None


class BuildError(RuntimeError):
    """The library could not be built; the message says why, with the compiler's own words."""


def source_folder() -> Path | None:
    """Where the sources lie."""
    return next((folder for folder in SOURCE_FOLDERS if (folder / ONCE[0]).is_file()), None)


def library_folders() -> tuple[Path, Path]:
    """Where libraries are looked for: beside the package, and in the user's cache where that cannot be written."""
    cache_folder = os.environ.get("DARKIT_CACHE") or "~/.cache/darkit-nb"
    return PACKAGE / "native", Path(cache_folder).expanduser() / "native"


def sources_digest(folder: Path) -> str:
    """Of every source, every flag and the machine: a library of another digest is not this one."""
    total = hashlib.sha256(f"{platform.system()} {platform.machine()} {FLAGS} {LEVELS}".encode())
    for path in sorted(folder.iterdir()):
        if path.suffix in (".cpp", ".h"):
            total.update(f"{path.name}\0".encode() + path.read_bytes())
    return total.hexdigest()[:16]


def find_library() -> Path | None:
    """The library built from the present sources, whichever compiler built it."""
    folder = source_folder()
    if folder is None:
        return None
    name = f"darkit_cpu-{sources_digest(folder)}-*.so"
    return next((path for place in library_folders() for path in sorted(place.glob(name))), None)


def find_compiler() -> tuple[str, str] | None:
    """Path and version line of the first C++ compiler that answers; the one named by CXX before others."""
    for name in filter(None, (os.environ.get("CXX"), *COMPILERS)):
        path = shutil.which(name)
        if path is None:
            continue
        done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode == 0 and done.stdout:
            return path, done.stdout.splitlines()[0]
    return None


def build() -> Path:
    """Build the library unless this compiler has built it from these sources already.

    Returns: Its path.

    Raises:
        BuildError: there are no sources, no compiler, no folder to write to, or the compiler failed.
    """
    folder, compiler = source_folder(), find_compiler()
    if folder is None:
        raise BuildError(
            f"The sources of the CPU library are missing: neither {' nor '.join(map(str, SOURCE_FOLDERS))}."
        )
    if compiler is None:
        raise BuildError(f"There is no C++ compiler: none of {', '.join(COMPILERS)} is on the PATH.")
    path, version = compiler
    name = f"darkit_cpu-{sources_digest(folder)}-{hashlib.sha256(version.encode()).hexdigest()[:8]}.so"
    target = _writable_folder() / name
    if not target.is_file():
        with tempfile.TemporaryDirectory(dir=target.parent) as room:
            compile_library(path, folder, Path(room) / name)
            (Path(room) / name).replace(target)  # at once: another process never sees half a library
    for old in target.parent.glob("darkit_cpu-*.so"):
        if old.name.split("-")[1] != name.split("-")[1]:
            old.unlink(missing_ok=True)
    return target


def compile_library(compiler: str, folder: Path, target: Path, extra: tuple[str, ...] = ()) -> None:
    """Compile every source for every instruction set, and link them into `target`.

    Args:
        compiler: path of g++ or clang++.
        folder: the sources.
        target: where the library is written; objects are left beside it.
        extra: more flags, such as those of a sanitiser.

    Raises:
        BuildError: the compiler failed.
    """
    objects: list[str] = []
    for source in sorted(folder.glob("*.cpp")):
        for level, flags in {"baseline": ()}.items() if source.name in ONCE else LEVELS.items():
            objects.append(str(target.parent / f"{source.stem}-{level}.o"))
            _run([compiler, *FLAGS, *flags, *extra, f"-DDK_LEVEL={level}", "-c", str(source), "-o", objects[-1]])
    _run([compiler, "-shared", *extra, *objects, "-o", str(target), "-lpthread"])


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise BuildError(f"{command[0]} failed with status {done.returncode}:\n{done.stderr[-4000:]}")


def _writable_folder() -> Path:
    for folder in library_folders():
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            return folder
    raise BuildError(f"No folder for the library can be written: {', '.join(map(str, library_folders()))}.")


@cache
def probe_native() -> NativeState:
    """Look for the library and load it, once per process."""
    path = find_library()
    if path is None:
        compiler = find_compiler()
        if compiler is None:
            return NativeState(False, "no C++ compiler has built the CPU library", f"install g++, then {BUILD}")
        return NativeState(False, "the CPU library is not built", BUILD)
    try:
        level = list(LEVELS)[ctypes.CDLL(str(path)).dk_level()]
    except (OSError, AttributeError, IndexError) as error:
        return NativeState(False, f"the CPU library does not load: {error}", BUILD)
    return NativeState(True, f"C++ library, {level}", path=str(path), level=level)


def main() -> int:
    """Build, or print what is there."""
    if sys.argv[1:] == ["--status"]:
        print(json.dumps(asdict(probe_native())))
        return 0
    try:
        print(f"CPU library: {build()}")
    except BuildError as error:
        print(f"The CPU library was not built; everything works without it, slower.\n{error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
