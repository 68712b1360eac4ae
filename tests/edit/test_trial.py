"""The process for trials: it outlives what is tried in it, and leaves nothing behind."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator

import psutil
import pytest
import torch
from torch import nn

from darkit_nb.edit.apply import make_patch
from darkit_nb.edit.recording import RecordedCall, Subject
from darkit_nb.edit.trial import TrialSession
from darkit_nb.edit.trial_watch import SPOKEN
from darkit_nb.errors import PatchError

CALLS = (RecordedCall((torch.ones(2, 3),), {}),)
TEXT = "class Linear(Linear):\n    def forward(self, input):\n        {}\n        return super().forward(input)\n"


def edit(line: str):
    net = nn.Sequential(nn.Linear(3, 3))
    return Subject(net[0], CALLS, "0"), make_patch(net, "0", TEXT.format(line))


@pytest.fixture(scope="module")
def session() -> Iterator[TrialSession]:
    with TrialSession() as each:
        yield each


def test_the_process_stays_warm_whatever_becomes_of_a_trial(session: TrialSession):
    session.start()
    pid = session.pid
    for line, check in (("import os; os.abort()", "crash"), ("import os; os._exit(7)", "exit"), ("pass", None)):
        report = session.run(*edit(line))
        assert [each.check for each in report.problems] == ([check] if check else [])
    assert session.pid == pid
    assert session.start() < 1.0  # a process that is started anew imports torch
    assert psutil.Process(pid).children() == []


def test_what_an_edit_starts_ends_with_it(session: TrialSession):
    line = 'import subprocess; raise ValueError(f\'pid {subprocess.Popen(["sleep", "300"]).pid}\')'
    problem = session.run(*edit(line)).problems[0]
    pid = int(problem.message.rstrip(".").rpartition(" ")[2])
    deadline = time.monotonic() + 120
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_what_it_prints_is_shown_and_cut(session: TrialSession):
    problem = session.run(*edit("print('first'); print('-' * 10**6); print('last'); 1 / 0")).problems[0]
    assert problem.received is not None
    assert "ZeroDivisionError" in problem.received
    assert "first" in problem.received
    assert "last" in problem.received
    assert len(problem.received) < 3 * SPOKEN


def test_giving_up_from_another_thread_ends_the_trial(session: TrialSession):
    session.start()
    children: list[psutil.Process] = []

    def give_up() -> None:
        while not children:
            time.sleep(0.05)
            children.extend(psutil.Process(session.pid).children())
        time.sleep(0.3)
        session.close()

    thread = threading.Thread(target=give_up)
    thread.start()
    with pytest.raises(PatchError, match="does not answer"):
        session.run(*edit("while True: pass"))
    thread.join()
    assert not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in children)
    assert session.run(*edit("pass")).problems == ()


class Slow(nn.Linear):
    """Takes its time by itself."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        time.sleep(0.3)
        return super().forward(input)


def test_a_module_that_is_slow_by_itself_has_more_time(session: TrialSession):
    net = nn.Sequential(Slow(3, 3))
    patch = make_patch(
        net, "0", "class Slow(Slow):\n    def forward(self, input):\n        return super().forward(input)\n"
    )
    report = session.run(Subject(net[0], CALLS, "0"), patch, time_limit_s=1.0)
    assert report.problems == ()
    assert report.seconds > 1.0


def test_without_forks_each_trial_has_a_fresh_process():
    with TrialSession(forks=False) as session:
        report = session.run(*edit("import os; os._exit(7)"))
        assert [(each.check, each.line) for each in report.problems] == [("exit", 3)]


def test_a_report_is_plain_data(session: TrialSession):
    report = session.run(*edit("raise KeyError('x')"))
    assert json.loads(json.dumps(report.problems[0].to_dict()))["line"] == 3
