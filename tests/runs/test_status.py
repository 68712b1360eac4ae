"""The state of a run follows from what was written and what can be seen of its process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from darkit_nb.config import RunConfig
from darkit_nb.errors import RunError
from darkit_nb.runs import RunDirectory, RunStatus, identity
from darkit_nb.runs.launch_record import LaunchRecord
from darkit_nb.runs.launcher import launch_record
from darkit_nb.runs.status import QUEUED, STALE_SECONDS, derive_state

RUNNING = RunStatus(
    recorded="running", heartbeat=1000.0, pid=7, process_started=50.0, host="here", boot_id="b1", attempt=1
)


def derived(status: RunStatus, *, now: float = 1001.0, started: float | None = 50.0, host: str = "here") -> str:
    return derive_state(status, now=now, host=host, boot_id="b1", process_started=lambda pid: started)[0]


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory.create(RunConfig(runs_dir=str(tmp_path / "runs")), command="test")


def test_a_living_process_with_a_fresh_heartbeat_runs() -> None:
    assert derived(RUNNING) == "running"


def test_a_dead_process_is_lost_at_once() -> None:
    assert derived(RUNNING, started=None) == "lost"


def test_a_reused_process_id_is_lost() -> None:
    assert derived(RUNNING, started=90.0) == "lost"


def test_a_stale_heartbeat_is_lost() -> None:
    assert derived(RUNNING, now=1000.0 + STALE_SECONDS + 1) == "lost"
    assert derived(RUNNING, now=1000.0 + STALE_SECONDS - 1) == "running"


def test_a_restarted_machine_is_lost() -> None:
    state, reason = derive_state(RUNNING, now=1001.0, host="here", boot_id="b2", process_started=lambda pid: 50.0)
    assert state == "lost"
    assert reason is not None
    assert "restarted" in reason


def test_another_machine_is_judged_by_its_heartbeat_alone() -> None:
    assert derived(RUNNING, host="there", started=None) == "running"
    assert derived(RUNNING, host="there", started=None, now=1000.0 + STALE_SECONDS + 1) == "lost"
    assert derived(RUNNING, host="there", now=900.0) == "running", "a clock behind ours is no reason"


@pytest.mark.parametrize("recorded", ["created", "finished", "stopped", "failed"])
def test_an_end_stays_an_end(recorded: str) -> None:
    assert derived(RunStatus(recorded=recorded, pid=7), started=None) == recorded


def test_an_unknown_state_is_lost() -> None:
    assert derived(RunStatus(recorded="dancing")) == "lost"


def test_a_run_goes_through_its_states(run: RunDirectory) -> None:
    assert run.read_status().state == "created"
    assert run.begin_attempt() == 1
    assert run.read_status().state == "running"
    run.write_status(step=3, total_steps=10, mood="calm")
    status = run.read_status()
    assert (status.state, status.step, status.total_steps, status.pid) == ("running", 3, 10, os.getpid())
    assert status.extra == {"mood": "calm"}
    run.write_status(state="stopped", message="asked to")
    status = run.read_status()
    assert (status.state, status.reason, status.step) == ("stopped", "asked to", 3)
    assert status.ended is not None
    assert run.begin_attempt() == 2
    status = run.read_status()
    assert (status.state, status.ended, status.message) == ("running", None, None)


def test_a_killed_process_reads_as_lost(run: RunDirectory) -> None:
    code = (
        "import sys, time\nfrom darkit_nb.runs import RunDirectory\n"
        "RunDirectory(sys.argv[1]).begin_attempt()\nprint('up', flush=True)\ntime.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(run.root)], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        assert run.read_status().state == "running"
        assert run.read_status().pid == process.pid
        process.kill()
        deadline = time.monotonic() + 5
        while run.read_status().state == "running" and time.monotonic() < deadline:
            time.sleep(0.01)
        assert run.read_status().state == "lost", "a zombie is not alive"
    finally:
        process.kill()
        process.communicate()
    assert "gone" in str(run.read_status().reason)
    assert run.begin_attempt() == 2


def test_this_process_is_recognised_by_its_start() -> None:
    started = identity.process_started(os.getpid())
    assert started == identity.process_started(os.getpid())
    assert identity.process_started(2**22 + 1) is None


def test_unknown_states_are_refused(run: RunDirectory) -> None:
    with pytest.raises(RunError, match="cannot be 'happy'"):
        run.write_status(state="happy")


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"state": "running"', "\x00\x00"])
def test_a_damaged_status_is_lost_and_can_be_written_again(run: RunDirectory, content: str) -> None:
    run.status_path.write_text(content)
    status = run.read_status()
    assert status.state == "lost"
    run.begin_attempt()
    assert run.read_status().state == "running"


def test_a_missing_status_is_a_created_run(run: RunDirectory) -> None:
    run.status_path.unlink()
    assert run.read_status().state == "created"


def test_a_newer_status_says_so(run: RunDirectory) -> None:
    run.status_path.write_text(json.dumps({"schema": 2, "state": "running"}))
    with pytest.raises(RunError, match="newer darkit-nb"):
        run.read_status()


def test_readers_never_see_half_a_status(run: RunDirectory) -> None:
    code = (
        "import sys\nfrom darkit_nb.runs import RunDirectory\nrun = RunDirectory(sys.argv[1])\n"
        "for step in range(300): run.write_status(state='running', step=step, filler='x' * 5000)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(run.root)]) as process:
        reads = 0
        while process.poll() is None:
            assert run.read_status().recorded in ("created", "running")
            reads += 1
    assert reads > 10
    assert run.read_status().step == 299


# -- with a supervisor -------------------------------------------------------------------------------------------------

LAUNCH = LaunchRecord(
    attempt=2, pid=5, process_started=40.0, host="here", boot_id="b1", heartbeat=1000.0, started=990.0,
    trainer={"pid": 7, "process_started": 50.0},
)  # fmt: skip


def watched(status: RunStatus, launch: LaunchRecord = LAUNCH, *, alive: dict[int, float]) -> tuple[str, str | None]:
    whole = replace(status, launch=launch)
    return derive_state(whole, now=1001.0, host="here", boot_id="b1", process_started=alive.get)


BOTH = {5: 40.0, 7: 50.0}


def test_a_launch_that_has_not_begun_is_starting() -> None:
    assert watched(RunStatus(recorded="stopped", attempt=1), alive=BOTH)[0] == "starting"
    assert watched(RunStatus(), alive={5: 40.0})[0] == "starting"
    assert watched(replace(RUNNING, recorded="starting", attempt=2), alive=BOTH)[0] == "starting"


def test_what_the_trainer_says_counts_while_its_supervisor_lives() -> None:
    mine = replace(RUNNING, attempt=2)
    assert watched(mine, alive=BOTH)[0] == "running"
    assert watched(replace(mine, recorded="finished"), alive=BOTH)[0] == "finished"
    assert watched(mine, alive={5: 40.0})[0] == "running", "its supervisor is about to say how it ended"


def test_a_run_without_its_supervisor_is_lost_and_its_trainer_an_orphan() -> None:
    state, reason = watched(replace(RUNNING, attempt=2), alive={7: 50.0})
    assert state == "lost"
    assert reason == "its supervisor 5 is gone; its work goes on without it, as process 7"
    assert watched(replace(RUNNING, attempt=2), alive={})[0] == "lost"
    assert watched(RunStatus(attempt=1, recorded="stopped"), alive={7: 50.0})[1] == reason, "before its first word"
    assert watched(replace(RUNNING, attempt=2, recorded="finished"), alive={})[0] == "finished"


def test_a_training_from_a_terminal_is_not_judged_by_an_earlier_supervisor() -> None:
    assert watched(replace(RUNNING, attempt=3), alive={7: 50.0})[0] == "running"
    assert watched(replace(RUNNING, attempt=3), alive={5: 40.0})[0] == "lost"


def test_another_machine_is_judged_by_its_supervisors_heartbeat() -> None:
    there = replace(LAUNCH, host="there")
    assert watched(replace(RUNNING, attempt=2), there, alive={})[0] == "running"
    assert watched(replace(RUNNING, attempt=2), replace(there, heartbeat=900.0), alive={})[0] == "lost"


def test_the_supervisor_speaks_for_a_trainer_that_ended_without_a_word(run: RunDirectory) -> None:
    run.begin_attempt(number=2)
    record = replace(launch_record(os.getpid(), 2), ended=time.time(), problem={"message": "ended by SIGKILL"})
    record.write(run.root)
    status = run.read_status()
    assert (status.state, status.reason) == ("failed", "ended by SIGKILL")
    assert status.problem == status.extra["problem"] == {"message": "ended by SIGKILL"}
    run.write_status(state="stopped", message="in order")
    assert (run.read_status().state, run.read_status().problem) == ("stopped", None)
    assert run.begin_attempt() == 3
    assert run.read_status().state == "running"


def test_reserved_numbers_are_counted(run: RunDirectory) -> None:
    replace(launch_record(os.getpid(), 4), ended=time.time()).write(run.root)
    assert RunDirectory(run.root).begin_attempt() == 5


def test_a_queued_run_waits_until_somebody_is_at_work(run: RunDirectory) -> None:
    (run.root / QUEUED).write_text('{"schema": 1, "time": 3.0}')
    assert (run.read_status().state, run.read_status().queued) == ("queued", 3.0)
    launch_record(os.getpid(), 1).write(run.root)
    assert run.read_status().state == "starting"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 3}', '{"schema": 9}'])
def test_a_damaged_record_of_the_supervisor_is_passed_over(run: RunDirectory, content: str) -> None:
    run.begin_attempt()
    (run.root / "supervisor.json").write_text(content)
    assert run.read_status().state == "running"
