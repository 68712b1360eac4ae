"""What is inside the wheel and the sdist, seen by building and opening them."""

from __future__ import annotations

import configparser
import json
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def build(kind: str, out: Path) -> Path:
    """One of `wheel` and `sdist`, of this tree."""
    command = [sys.executable, "-m", "build", f"--{kind}", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = out.glob("darkit_nb-*")
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    return zipfile.ZipFile(build("wheel", tmp_path_factory.mktemp("wheel")))


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    with tarfile.open(build("sdist", tmp_path_factory.mktemp("sdist"))) as archive:
        return {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}


def sources(folder: str, pattern: str) -> set[str]:
    return {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob(pattern)}


def labextension(wheel: zipfile.ZipFile) -> str:
    """Where the wheel puts the JupyterLab extension."""
    (found,) = {name.rsplit("/", 1)[0] for name in wheel.namelist() if name.endswith("/darkit-nb/install.json")}
    return found


def test_it_holds_every_module(wheel: zipfile.ZipFile):
    assert sources("darkit_nb", "*.py") <= set(wheel.namelist())


def test_it_holds_the_kernels_inside_the_package(wheel: zipfile.ZipFile):
    kernels = sources("kernels", "*.cu") | sources("kernels", "*.h")
    assert kernels
    assert {f"darkit_nb/{name}" for name in kernels} <= set(wheel.namelist())


def test_it_is_for_every_machine(wheel: zipfile.ZipFile):
    """The CPU library is built on the machine it runs on, from the sources inside."""
    assert str(wheel.filename).endswith("-py3-none-any.whl")
    assert not [name for name in wheel.namelist() if name.endswith((".so", ".o"))]
    assert {f"darkit_nb/{name}" for name in sources("kernels/cpu", "*.cpp")} <= set(wheel.namelist())


def test_it_holds_the_benchmarks_that_need_nothing_else(wheel: zipfile.ZipFile):
    """As many as can be run there are, and each finds what it imports."""
    inside = {name for name in wheel.namelist() if name.startswith("darkit_nb/benchmarks/")}
    assert {"__main__.py", "kernels_cpu.py", "kernels_cuda.py"} <= {name.rsplit("/", 1)[1] for name in inside}
    for name in inside:
        source = wheel.read(name).decode()
        assert source == (ROOT / name.removeprefix("darkit_nb/")).read_text()
        assert not re.findall(r"^(?:from|import) benchmarks", source, re.MULTILINE), f"{name} needs the repository"
        for package, module in re.findall(r"^from \.(\w*) import (\w+)", source, re.MULTILINE):
            assert f"darkit_nb/benchmarks/{package or module}.py" in inside, f"{name} imports {package or module}"


def test_it_holds_the_quickstart(wheel: zipfile.ZipFile):
    ours = (ROOT / "notebooks" / "01_quickstart.ipynb").read_bytes()
    assert wheel.read("darkit_nb/notebooks/01_quickstart.ipynb") == ours


def test_it_holds_the_front_end_of_every_widget(wheel: zipfile.ZipFile):
    asked = {
        f"{stem}{ending}"
        for path in (ROOT / "darkit_nb" / "widgets").rglob("*.py")
        for function, ending in (("script", ".js"), ("style", ".css"))
        for stem in re.findall(rf'_(?:esm|css) = {function}\("(\w+)"\)', path.read_text())
    }
    assert "run_panel.js" in asked
    asked |= {f"{path.stem}.js.gz" for path in (ROOT / "extension" / "src" / "libraries").glob("*.ts")}
    assert "plotly.js.gz" in asked
    assert {f"darkit_nb/static/{name}" for name in asked} <= set(wheel.namelist())
    for name in asked:
        assert len(wheel.read(f"darkit_nb/static/{name}")) > 100


def test_it_holds_the_jupyterlab_extension_where_jupyterlab_looks(wheel: zipfile.ZipFile):
    folder = labextension(wheel)
    assert folder.endswith(".data/data/share/jupyter/labextensions/darkit-nb")
    manifest = json.loads(wheel.read(f"{folder}/package.json"))
    assert f"{folder}/{manifest['jupyterlab']['_build']['load']}" in wheel.namelist()
    text = "".join(wheel.read(name).decode() for name in wheel.namelist() if name.startswith(f"{folder}/static/"))
    assert "See a language model spike" in text  # the quickstart that the launcher card opens
    assert json.loads(wheel.read(f"{folder}/install.json"))["packageName"] == "darkit-nb"


def test_it_holds_nothing_else(wheel: zipfile.ZipFile):
    inside = {name.split("/")[0] for name in wheel.namelist()}
    assert {top for top in inside if not top.endswith((".dist-info", ".data"))} == {"darkit_nb"}
    assert not [name for name in wheel.namelist() if "__pycache__" in name or "/tests/" in name]
    data = [name for name in wheel.namelist() if ".data/" in name]
    assert not [name for name in data if not name.startswith(labextension(wheel))]
    plain = [name for name in wheel.namelist() if name.startswith("darkit_nb/") and not name.endswith(".py")]
    assert {name.split("/")[1] for name in plain} == {"bundled", "kernels", "notebooks", "static"}
    assert {Path(name).suffix for name in plain if "/static/" in name} == {".js", ".css", ".gz"}


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


def test_the_sdist_holds_what_a_wheel_is_made_of_and_what_was_built(sdist: set[str], wheel: zipfile.ZipFile):
    assert {"pyproject.toml", "extension/hatch_build.py", "extension/package-lock.json"} <= sdist
    assert sources("extension/src", "*.ts*") | sources("kernels", "*.cu") | sources("darkit_nb", "*.py") <= sdist
    assert {name for name in wheel.namelist() if name.startswith("darkit_nb/static/")} <= sdist
    assert {"darkit_nb/labextension/package.json", "darkit_nb/static/sources.sha256"} <= sdist
    assert not [name for name in sdist if "node_modules" in name or name.startswith(("tests/", "benchmarks/results"))]
