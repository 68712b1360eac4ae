"""One conversion at a time works in a folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from darkit_nb.convert import convert_model
from darkit_nb.convert.work import WorkFolder
from darkit_nb.errors import RunError
from tests.convert.tiny import ids, small

_HOLDER = """
import sys
from pathlib import Path
from darkit_nb.convert.work import WorkFolder
with WorkFolder(Path(sys.argv[1])).held():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_conversion_somebody_is_at_work_on_is_left_to_it(folder: Path, tmp_path: Path):
    out = tmp_path / "out"
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(out)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == "held\n"
        for resume in (True, False):
            with pytest.raises(RunError, match="being written") as caught:
                convert_model(folder, small("rtn"), calibration=ids(), out=out, resume=resume)
            assert str(holder.pid) in caught.value.message
        assert [path.name for path in tmp_path.iterdir()] == ["out.conversion"]
        holder.stdin.close()
    assert not list(tmp_path.iterdir())
    convert_model(folder, small("rtn"), calibration=ids(), out=out)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_holder_that_was_killed_holds_nothing(tmp_path: Path):
    work = WorkFolder(tmp_path / "out")
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(work.out)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        holder.kill()
    with work.held():
        assert work.root.is_dir()
    assert not work.root.exists()
