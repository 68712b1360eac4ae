"""A fork on disk: readable, whole or absent, and never leading out of its folder."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from darkit_nb.edit.fork import Fork
from darkit_nb.edit.fork_files import FILE, copy, list_folders
from darkit_nb.errors import ConfigError, DarkitError, PatchError, TrustError
from darkit_nb.records.patch import Patch
from darkit_nb.runs.patch_history import ScheduledAction

BASE = "class A:\n    x = 1\n"


def patch(value: int, **more: object) -> Patch:
    facts = {
        "kind": "code",
        "targets": ("a", "b"),
        "module": "m",
        "class_name": "Outer.A",
        "base": BASE,
        "created": 1.5,
    }
    return Patch(**{**facts, "source": BASE.replace("1", str(value)), **more})


def fork(name: str = "gated") -> Fork:
    spec = Patch(kind="spec", targets=("c",), module="m", class_name="GIF", spec={"num_levels": 4}, created=2.5)
    steps = (ScheduledAction(0, "patch", 1), ScheduledAction(5, "patch", 2), ScheduledAction(9, "revert", 1))
    fenced = patch(2, note="why\nso", source=BASE.replace("1", '"""```"""'))
    schedule = (*steps, ScheduledAction(11, "patch", 3))
    return Fork(
        name=name, patches=(fenced, patch(3), spec), schedule=schedule, base="llama", config={"seed": 3}, created=3.5
    )


@pytest.fixture(autouse=True)
def _config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKIT_CONFIG", str(tmp_path / "config"))


@pytest.fixture
def forks(tmp_path: Path) -> Path:
    return tmp_path / "forks"


def test_what_is_saved_is_loaded_and_read_by_people(forks: Path):
    saved = fork().save(forks)
    loaded = Fork.load("gated", forks_dir=forks)
    assert loaded == saved
    assert (loaded.patches, loaded.schedule, loaded.config) == (fork().patches, fork().schedule, {"seed": 3})
    assert loaded.in_effect == (patch(3), fork().patches[2])
    texts = sorted((forks / "gated" / "patches").iterdir())
    assert [path.read_text() for path in texts] == [each.source for each in fork().patches[:2]]
    readme = (forks / "gated" / "README.md").read_text()
    for part in ("# gated", "````diff", '+    x = """```"""', "darkit-nb train --fork gated", "after step 5: patch 2"):
        assert part in readme
    assert "taken out again" in readme.split("## 2.")[0]
    assert "num_levels" in loaded.contents


def test_a_taken_name_is_kept_unless_it_is_to_be_replaced(forks: Path):
    fork().save(forks)
    with pytest.raises(PatchError, match="already"):
        fork().save(forks)
    fork().save(forks, overwrite=True)
    (forks / "notes").mkdir()
    with pytest.raises(PatchError, match="already"):
        fork("notes").save(forks, overwrite=True)  # a folder that is no fork is nobody's to replace
    assert [each.name for each in list_folders(forks)] == ["gated"]
    assert sorted(each.name for each in forks.iterdir()) == ["gated", "notes"]


NAMES = [
    "../out",
    "/etc",
    "..",
    ".",
    "",
    "a/../..",
    "a\\b",
    "ａ",
    "e\u0301",
    "a\u202eb",
    "con:x",
    "a\0b",
    "x" * 60,
    "a\n",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_cannot_leave_the_forks(forks: Path, name: str):
    with pytest.raises(ConfigError, match="cannot be called"):
        fork(name)
    with pytest.raises(DarkitError):
        Fork.load(name, forks_dir=forks)
    assert not forks.exists()


def test_a_link_is_no_fork_of_this_folder(forks: Path, tmp_path: Path):
    fork("elsewhere").save(tmp_path / "other")
    forks.mkdir()
    (forks / "link").symlink_to(tmp_path / "other" / "elsewhere")
    with pytest.raises(PatchError, match="link to another place"):
        Fork.load("link", forks_dir=forks)
    with pytest.raises(PatchError, match="already"):
        fork("link").save(forks, overwrite=True)
    assert list_folders(forks) == []
    assert Fork.load(tmp_path / "other" / "elsewhere").patches  # named itself, it is what was meant


@pytest.mark.parametrize(
    "file", ["../../secret.py", "/etc/passwd", "01-A.py/../x", 3, "01-A-0123456789ab.sh", "a\0.py"]
)
def test_a_fork_cannot_name_files_elsewhere(forks: Path, file: object):
    fork().save(forks)
    facts = json.loads((forks / "gated" / FILE).read_text())
    facts["patches"][0]["file"] = file
    (forks / "gated" / FILE).write_text(json.dumps(facts))
    with pytest.raises(PatchError):
        Fork.read("gated", forks_dir=forks)


def test_links_in_a_fork_are_not_followed(forks: Path, tmp_path: Path):
    saved = fork().save(forks)
    assert saved.folder is not None
    text = next((saved.folder / "patches").iterdir())
    (tmp_path / "secret.py").write_text(text.read_text())
    text.unlink()
    text.symlink_to(tmp_path / "secret.py")
    with pytest.raises(PatchError, match="does not belong"):
        Fork.read("gated", forks_dir=forks)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda facts: facts.update(schema=2), "schema 2"),
        (lambda facts: facts.pop("patches"), "patches"),
        (lambda facts: facts["schedule"].append({"step": 1, "action": "patch", "patch": 9}), "does not hold"),
        (lambda facts: facts["schedule"].append({"step": -1, "action": "patch", "patch": 1}), "no step"),
        (lambda facts: facts["schedule"].append({"step": 1, "action": "run", "patch": 1}), "no step"),
        (lambda facts: facts["patches"][0].update(kind="shell"), "no patch"),
        (lambda facts: facts.update(config="x"), "no mapping"),
    ],
)
def test_a_damaged_fork_says_so(forks: Path, change, problem: str):
    fork().save(forks)
    facts = json.loads((forks / "gated" / FILE).read_text())
    change(facts)
    (forks / "gated" / FILE).write_text(json.dumps(facts))
    with pytest.raises(PatchError, match=problem):
        Fork.read("gated", forks_dir=forks)


def test_every_changed_byte_asks_again(forks: Path):
    saved = fork().save(forks)
    assert saved.folder is not None
    for path in [saved.folder / FILE, *(saved.folder / "patches").iterdir()]:
        before = path.read_bytes()
        for place in range(0, len(before), max(1, len(before) // 40)):
            path.write_bytes(before[:place] + bytes([before[place] ^ 1]) + before[place + 1 :])
            with pytest.raises((TrustError, PatchError, ConfigError)):
                Fork.load("gated", forks_dir=forks)
        path.write_bytes(before)
    assert Fork.load("gated", forks_dir=forks) == saved


def test_a_copy_is_the_same_byte_by_byte_and_stays(forks: Path, tmp_path: Path):
    saved = fork().save(forks)
    assert saved.folder is not None
    copy(saved.folder, tmp_path / "run" / "fork")
    assert Fork.read(tmp_path / "run" / "fork").digest == saved.digest
    fork().save(forks, overwrite=True)
    copy(saved.folder, tmp_path / "run" / "fork")
    assert Fork.read(tmp_path / "run" / "fork").digest == saved.digest


WRITER = """
import sys
from tests.edit.test_fork_files import fork
name, forks = sys.argv[1:]
print("ready", flush=True)
while True:
    fork(name).save(forks, overwrite=True)
"""


def test_a_writer_killed_at_any_moment_leaves_a_whole_fork(forks: Path):
    fork().save(forks)
    for delay in (0.0, 0.005, 0.011, 0.017, 0.023):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, "gated", str(forks)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert Fork.load("gated", forks_dir=forks).patches == fork().patches
        fork().save(forks, overwrite=True)
    (forks / "gated").rename(forks / ".old-gated")  # killed between the two renames
    assert Fork.load("gated", forks_dir=forks).patches == fork().patches
