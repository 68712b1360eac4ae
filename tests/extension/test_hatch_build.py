"""The build of the front end: its unit tests pass, and it is built exactly when something changed."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent.parent
BUILT = ("darkit_nb/static", "darkit_nb/labextension")


def clone(target: Path) -> Path:
    """The tracked and new files of this tree, as a fresh clone has them."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    return target


@pytest.fixture
def hook(tmp_path: Path) -> Iterator[ModuleType]:
    """The build hook in a copy of the tree, with the packages and what is built here."""
    tree = clone(tmp_path / "tree")
    (tree / "extension" / "node_modules").symlink_to(ROOT / "extension" / "node_modules")
    for folder in BUILT:
        shutil.copytree(ROOT / folder, tree / folder, dirs_exist_ok=True)
    spec = importlib.util.spec_from_file_location("hatch_build_copy", tree / "extension" / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_the_unit_tests_of_the_front_end_pass():
    command = [sys.executable, str(ROOT / "extension" / "hatch_build.py"), "npm", "test"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_every_package_of_every_platform_is_locked():
    lock = json.loads((ROOT / "extension" / "package-lock.json").read_text())["packages"]
    known = {path.rpartition("node_modules/")[2] for path in lock if path}
    wanted = {name for package in lock.values() for name in package.get("optionalDependencies", {})}
    assert wanted
    assert wanted <= known  # otherwise `npm ci` refuses, here or on another machine


def test_it_is_built_when_a_source_changed_and_only_then(hook: ModuleType):
    hook.build_if_needed()
    assert hook.build_if_needed() is False
    source = hook.HERE / "src" / "core" / "polling.ts"
    source.write_text(source.read_text().replace("15000", "15001"))
    assert hook.build_if_needed() is True
    bundle = "".join(path.read_text() for path in (hook.LABEXTENSION / "static").glob("*.js"))
    assert "15001" in bundle or "15e3+1" in bundle
    assert hook.build_if_needed() is False


def test_a_file_that_is_gone_is_built_again(hook: ModuleType):
    hook.build_if_needed()
    (hook.STATIC / "studio_bar.js").unlink()
    assert hook.missing_targets() == ["darkit_nb/static/studio_bar.js"]
    assert hook.build_if_needed() is True
    assert hook.missing_targets() == []


def test_a_build_that_leaves_something_out_fails(hook: ModuleType):
    (hook.HERE / "package.json").write_text('{"scripts": {"build": "true"}}')
    shutil.rmtree(hook.STATIC)
    hook.STATIC.mkdir()
    with pytest.raises(RuntimeError, match=r"missing: .*static/studio_bar\.js"):
        hook.build_if_needed()
    assert not hook.STAMP.exists()


def test_without_node_it_is_asked_for_as_a_build_requirement(hook: ModuleType, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hook, "_npm", lambda: None)
    frontend = hook.FrontEndHook(str(hook.ROOT), {}, None, None, "", "wheel")
    hook.STAMP.unlink(missing_ok=True)
    assert frontend.dependencies() == [hook.NODE_FROM_PYPI]
    with pytest.raises(RuntimeError, match=r"Node 20\.19 or newer"):
        hook.build_if_needed()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_clone_builds_on_a_machine_without_node(tmp_path: Path):
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("env", "sh"):
        (tools / name).symlink_to(shutil.which(name) or "")
    tree = clone(tmp_path / "tree")
    environment = {**os.environ, "PATH": str(tools)}
    assert shutil.which("node", path=str(tools)) is None
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path / "out"), str(tree)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-6000:]
    (built,) = (tmp_path / "out").glob("*.whl")
    names = zipfile.ZipFile(built).namelist()
    assert "darkit_nb/static/studio_bar.js" in names
    assert [name for name in names if name.endswith("labextensions/darkit-nb/package.json")]
