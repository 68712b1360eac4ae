"""What goes wrong in one of two processes that train: both end, and the first says why, once."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from darkit_nb.config import RunConfig, dump_yaml
from darkit_nb.errors import TrainingError
from darkit_nb.runs import list_runs
from tests.convert.launching import Harm, Together, launch

IN_A_STEP = "darkit_nb.train.trainer.RunTrainer.plain_step"
IN_PREPARATION = "darkit_nb.train.launch.open_session"
ODD = TrainingError("The loss is odd.", fix="lower it")


def end_of(config: RunConfig, folder: Path, harm: Harm) -> tuple[Together, list[int | None]]:
    (folder / "config.yaml").write_text(dump_yaml(config.replace({"train.device": "cpu"})))
    both = launch(["train", str(folder / "config.yaml"), "--quiet"], folder, harm=harm)
    return both, both.wait()


@pytest.mark.parametrize(
    ("where", "call", "rank"), [(IN_A_STEP, 5, 0), (IN_A_STEP, 5, 1), (IN_PREPARATION, 1, 0), (IN_PREPARATION, 1, 1)]
)
def test_an_error_of_one_is_said_once_by_the_first(tiny: RunConfig, tmp_path: Path, where: str, call: int, rank: int):
    both, codes = end_of(tiny, tmp_path, Harm(rank=rank, where=where, call=call, act=ODD))
    assert codes == [2, 0], both.said(0) + both.said(1)
    assert both.said(0).count("darkit-nb: The loss is odd.") == 1
    assert "lower it" in both.said(0)
    assert "odd" not in both.said(1)
    assert "Traceback" not in both.said(0) + both.said(1)
    if where == IN_A_STEP:
        (run,) = list_runs(tiny.runs_dir)
        assert run.read_status().state == "failed"
        assert (run.read_status().problem or {})["message"] == "The loss is odd."


def test_what_nobody_foresaw_is_named_by_the_first_and_placed_where_it_was(tiny: RunConfig, tmp_path: Path):
    both, codes = end_of(tiny, tmp_path, Harm(rank=1, where=IN_A_STEP, call=5, act=ValueError("seven")))
    assert codes == [2, 0], both.said(0) + both.said(1)
    assert both.said(0).count("Process 1 of 2 failed: ValueError: seven") == 1
    assert "Traceback" not in both.said(0)
    assert both.said(1).count("ValueError: seven") == 1
    assert "plain_step" in both.said(1)


@pytest.mark.parametrize("rank", [0, 1])
def test_one_that_is_killed_ends_the_other_which_says_so_once(tiny: RunConfig, tmp_path: Path, rank: int):
    both, codes = end_of(tiny, tmp_path, Harm(rank=rank, where=IN_A_STEP, call=5))
    assert codes[rank] == -signal.SIGKILL
    assert codes[1 - rank] == 2
    assert both.said(1 - rank).count("Another process of this work is gone.") == 1
    assert "Traceback" not in both.said(1 - rank)
    (run,) = list_runs(tiny.runs_dir)
    assert run.read_status().state == ("lost" if rank == 0 else "failed")
