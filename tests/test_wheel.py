"""What is inside the wheel, seen by building one and opening it."""

from __future__ import annotations

import configparser
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = out.glob("darkit_nb-*.whl")
    return zipfile.ZipFile(built)


def sources(folder: str, pattern: str) -> set[str]:
    return {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob(pattern)}


def test_it_holds_every_module(wheel: zipfile.ZipFile):
    assert sources("darkit_nb", "*.py") <= set(wheel.namelist())


def test_it_holds_the_kernels_inside_the_package(wheel: zipfile.ZipFile):
    kernels = sources("kernels", "*.cu") | sources("kernels", "*.h")
    assert kernels
    assert {f"darkit_nb/{name}" for name in kernels} <= set(wheel.namelist())


def test_it_holds_nothing_else(wheel: zipfile.ZipFile):
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"darkit_nb"}
    assert not [name for name in wheel.namelist() if "__pycache__" in name or "/tests/" in name]


def test_it_carries_its_licence(wheel: zipfile.ZipFile):
    (licence,) = (name for name in wheel.namelist() if name.endswith("/licenses/LICENSE"))
    assert wheel.read(licence) == (ROOT / "LICENSE").read_bytes()


def test_its_entry_points_name_functions_that_exist(wheel: zipfile.ZipFile):
    (listed,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    points = configparser.ConfigParser()
    points.optionxform = str  # type: ignore[assignment]  # names are case-sensitive
    points.read_string(wheel.read(listed).decode())
    assert points["console_scripts"]["darkit-nb"] == "darkit_nb.cli:main"
    missing = []
    for section in points.sections():
        for target in points[section].values():
            module, _, function = target.partition(":")
            file = f"{module.replace('.', '/')}"
            found = [name for name in (f"{file}.py", f"{file}/__init__.py") if name in wheel.namelist()]
            if not found or function not in wheel.read(found[0]).decode():
                missing.append(target)
    assert missing == []
