"""`darkit-nb lab`: a real server, in the folder asked for, with the quickstart."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from darkit_nb.cli import lab as command
from darkit_nb.cli.app import run

ROOT = Path(__file__).parent.parent.parent
TOKEN = secrets.token_hex(8)


class Stay(urllib.request.HTTPRedirectHandler):
    """Shows a redirect instead of following it."""

    def redirect_request(self, req: object, fp: object, code: int, msg: str, headers: object, newurl: str) -> None:
        return None


@contextmanager
def started(folder: Path, home: Path) -> Iterator[str]:
    """The address of a server that `darkit-nb lab` started; stopped afterwards."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    places = {f"JUPYTER_{name}_DIR": str(home / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    options = ["--no-browser", "--allow-root", f"--ServerApp.port={port}", f"--IdentityProvider.token={TOKEN}"]
    log = (home / "log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "darkit_nb", "lab", str(folder), *options],
        env=os.environ | places,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    try:
        address = f"http://127.0.0.1:{port}"
        until = time.monotonic() + 240
        while True:
            try:
                urllib.request.urlopen(f"{address}/api", timeout=5)  # noqa: S310 # http, as written above
                break
            except (urllib.error.URLError, OSError):
                assert process.poll() is None, (home / "log").read_text()
                assert time.monotonic() < until, (home / "log").read_text()
                time.sleep(0.2)
        yield address
    finally:
        process.terminate()
        process.wait(120)
        log.close()


def test_it_serves_the_folder_and_opens_the_quickstart(tmp_path: Path):
    folder = tmp_path / "new" / "work"
    with started(folder, tmp_path) as address:
        with urllib.request.urlopen(f"{address}/api/contents?token={TOKEN}", timeout=120) as answer:  # noqa: S310
            names = [entry["name"] for entry in json.load(answer)["content"]]
        with pytest.raises(urllib.error.HTTPError) as redirect:
            urllib.request.build_opener(Stay).open(f"{address}/?token={TOKEN}", timeout=120)
    assert sorted(names) == ["01_quickstart.ipynb", "02_convert.ipynb", "03_edit.ipynb"]
    assert redirect.value.headers["Location"].startswith("/lab/tree/01_quickstart.ipynb")
    assert (folder / command.QUICKSTART).read_bytes() == (ROOT / "notebooks" / command.QUICKSTART).read_bytes()


def test_a_notebook_that_is_there_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    begun: list[list[str]] = []
    monkeypatch.setattr(command.os, "execv", lambda program, arguments: begun.append(arguments))
    (tmp_path / command.QUICKSTART).write_text("mine")
    assert run(["lab", str(tmp_path), "--port=9000"]) == 0
    assert (tmp_path / command.QUICKSTART).read_text() == "mine"
    assert begun[0][-1] == "--port=9000"
    assert f"--ServerApp.root_dir={tmp_path}" in begun[0]


def test_without_jupyterlab_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    assert run(["lab"]) == 2
    assert "-m pip install jupyterlab" in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_an_error_with_its_fix(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "file").write_text("")
    assert run(["lab", str(tmp_path / "file" / "work")]) == 2
    assert "darkit-nb lab FOLDER" in capsys.readouterr().err
