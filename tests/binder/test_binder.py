"""Binder: its pins agree with ours, and its steps, run in a fresh environment, end in a JupyterLab that trains."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent.parent
POST_BUILD = ROOT / "binder" / "postBuild"
QUICKSTART = "notebooks/01_quickstart.ipynb"
SMALL = (
    "model.overrides.hidden_size=32",
    "model.overrides.intermediate_size=64",
    "model.overrides.num_hidden_layers=1",
    "data.seq_len=32",
    "data.max_train_tokens=20000",
    "data.max_validation_tokens=2000",
    "train.batch_size=2",
    "train.steps=4",
)


@pytest.fixture(scope="module")
def project() -> dict[str, object]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


def test_the_python_is_pinned_to_one_that_is_supported_and_checked(project: dict[str, object]):
    name, _, version = (ROOT / "binder" / "runtime.txt").read_text().strip().partition("-")
    assert name == "python"
    assert re.fullmatch(r"3\.\d+", version)
    assert version in SpecifierSet(str(project["requires-python"]))
    assert f"Checked on CPython {version}." in (ROOT / "constraints.txt").read_text()


def test_every_dependency_is_pinned_to_a_version_that_is_asked_for(project: dict[str, object], pins: dict[str, str]):
    optional = project["optional-dependencies"]
    assert isinstance(optional, dict)
    asked = [Requirement(text) for text in [*project["dependencies"], *optional["dev"]]]  # type: ignore[misc]
    assert len(asked) > 20
    wrong = [str(one) for one in asked if not one.specifier.contains(pins.get(canonicalize_name(one.name), "0"))]
    assert wrong == []


def test_it_fails_hard_and_installs_only_what_is_pinned():
    text = POST_BUILD.read_text()
    assert os.access(POST_BUILD, os.X_OK)
    assert "\nset -euo pipefail\n" in text
    installs = [line for line in text.splitlines() if "pip install" in line]
    assert len(installs) == 2
    assert all("--constraint constraints.txt" in line for line in installs)
    assert f"QUICKSTART={QUICKSTART}\n" in text
    assert (ROOT / QUICKSTART).is_file()


def test_it_refuses_another_python(tmp_path: Path):
    (tmp_path / "binder").mkdir()
    (tmp_path / "binder" / "runtime.txt").write_text("python-3.8\n")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [str(POST_BUILD)], cwd=tmp_path, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "runtime.txt names python-3.8" in done.stderr


def clone(target: Path) -> Path:
    """What is committed, with the changes of this working tree, as Binder would check it out."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in names:
        if name and (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes((ROOT / name).read_bytes())
            (target / name).chmod((ROOT / name).stat().st_mode)
    return target


class Stay(urllib.request.HTTPRedirectHandler):
    """Shows a redirect instead of following it."""

    def redirect_request(self, req: object, fp: object, code: int, msg: str, headers: object, newurl: str) -> None:
        return None


def first_page(environment: dict[str, str], cwd: Path) -> str:
    """Where a JupyterLab started as Binder does it leads its visitor."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ["--no-browser", "--allow-root", f"--ServerApp.port={port}", "--IdentityProvider.token=binder"]
    server = subprocess.Popen(["jupyter", "lab", *options], cwd=cwd, env=environment, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 90
        while time.monotonic() < until:
            try:
                urllib.request.build_opener(Stay).open(f"http://127.0.0.1:{port}/?token=binder", timeout=5)
            except urllib.error.HTTPError as redirect:
                return redirect.headers["Location"]
            except (urllib.error.URLError, OSError):
                time.sleep(0.5)
        raise AssertionError("JupyterLab does not answer")
    finally:
        server.terminate()
        server.wait(30)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_its_steps_end_in_a_jupyterlab_that_opens_the_quickstart_and_trains(tmp_path: Path):
    tree = clone(tmp_path / "tree")
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "env")], check=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "DARKIT", "VIRTUAL"))}
    jupyter = {f"JUPYTER_{name}_DIR": str(tmp_path / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    # The index of CPU builds may be out of reach of a test; any torch of the pinned version will do for it.
    environment = {
        "TORCH_INDEX": "https://pypi.org/simple",
        **kept,
        **jupyter,
        "PATH": f"{tmp_path / 'env' / 'bin'}{os.pathsep}{os.environ['PATH']}",
    }
    built = subprocess.run(
        [str(tree / "binder" / "postBuild")], cwd=tree, env=environment, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stdout[-4000:] + built.stderr[-4000:]
    assert not (tree / "extension" / "node_modules").exists()

    assert first_page(environment, tree).startswith(f"/lab/tree/{QUICKSTART}")
    trained = subprocess.run(
        ["darkit-nb", "train", "--quiet", *SMALL],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert trained.returncode == 0, trained.stderr
    assert trained.stdout.startswith("finished")
