"""The state of a run follows from what was written and what can be seen of its process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from darkit_nb.config import RunConfig
from darkit_nb.errors import RunError
from darkit_nb.runs import RunDirectory, RunStatus, identity
from darkit_nb.runs.status import STALE_SECONDS, derive_state

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
