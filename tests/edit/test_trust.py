"""Code from elsewhere is not run before somebody has seen it; any changed byte asks again."""

from __future__ import annotations

import json
import multiprocessing
import stat
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from darkit_nb.edit import trust
from darkit_nb.errors import TrustError
from darkit_nb.records.patch import Patch

BASE = "class A:\n    x = 1\n"
PATCH = Patch(kind="code", targets=("a",), module="m", class_name="A", base=BASE, source=BASE.replace("1", "2"))


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DARKIT_CONFIG", str(tmp_path / "config"))
    return tmp_path / "config"


def require(patch: Patch, *, agree: bool = False) -> None:
    trust.require([trust.patch_hash(patch)], [patch], what="The fork 'x'", trust=agree, fix="do so")


def test_it_is_shown_and_asked_for_once():
    with pytest.raises(TrustError) as caught:
        require(PATCH)
    shown = str(caught.value)
    for part in ("The fork 'x'", "m.A in a", "-    x = 1", "+    x = 2", trust.patch_hash(PATCH), "do so"):
        assert part in shown
    require(PATCH, agree=True)
    require(PATCH)


@pytest.mark.parametrize(
    "changed", [{"source": BASE}, {"targets": ("b",)}, {"note": "n"}, {"created": 1.0}, {"module": "n"}]
)
def test_any_change_asks_again(changed: dict):
    require(PATCH, agree=True)
    with pytest.raises(TrustError):
        require(replace(PATCH, **changed))


def test_every_part_has_to_be_trusted():
    other = replace(PATCH, targets=("b",))
    require(PATCH, agree=True)
    with pytest.raises(TrustError) as caught:
        trust.require(
            [trust.patch_hash(each) for each in (PATCH, other)], [PATCH, other], what="x", trust=False, fix=""
        )
    assert trust.patch_hash(PATCH) not in str(caught.value.received)


def test_what_is_remembered_is_private_to_its_owner(config: Path):
    path = config / trust.FILE
    trust.remember("ab" * 32, "one")
    draft = path.with_name(f".{path.name}.{threading.get_native_id()}")
    draft.write_text("left by a writer that was killed")
    draft.chmod(0o644)
    trust.remember("cd" * 32, "two")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(config.stat().st_mode) == 0o700
    assert set(json.loads(path.read_text())["trusted"]) == {"ab" * 32, "cd" * 32}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"trusted": []}', '{"trusted": 3}'])
def test_a_damaged_file_trusts_nothing_and_is_mended(config: Path, text: str):
    config.mkdir()
    (config / trust.FILE).write_text(text)
    assert not trust.is_trusted("ab" * 32)
    trust.remember("ab" * 32, "one")
    assert trust.is_trusted("ab" * 32)


def _remember(folder: str, digest: str) -> None:
    import os

    os.environ["DARKIT_CONFIG"] = folder
    trust.remember(digest, "one of many")


def test_processes_that_agree_at_once_lose_nothing(config: Path):
    digests = [f"{number:064x}" for number in range(8)]
    with multiprocessing.get_context("fork").Pool(4) as pool:
        pool.starmap(_remember, [(str(config), digest) for digest in digests])
    assert all(map(trust.is_trusted, digests))


def test_code_cannot_hide_behind_signs_that_terminals_obey():
    sly = replace(PATCH, source=BASE + "# \x1b[2K \u202e gnp.exe\n", note="harmless\x1b[1A")
    shown = trust.contents([sly])
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "\\u001b" in shown
