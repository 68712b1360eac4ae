"""What a terminal sees: help, errors, exit codes, and that nothing heavy is loaded before it is needed."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from darkit_nb import __version__
from darkit_nb.cli.app import run

COMMANDS = ("demo", "lab", "train", "resume", "stop", "generate", "evaluate", "runs", "import", "data", "doctor")
START_SECONDS = 0.5


def call(*arguments: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "darkit_nb", *arguments],
        capture_output=True, text=True, check=False, cwd=cwd, env=os.environ | environment,
    )  # fmt: skip


def test_help_lists_every_command_in_the_order_of_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    text = capsys.readouterr().out
    places = [text.index(f"│ {command} ") for command in COMMANDS]
    assert places == sorted(places)


@pytest.mark.parametrize("command", [*COMMANDS, "runs list", "runs show", "runs queue", "runs compare", "runs end"])
def test_every_command_explains_itself_and_all_its_parameters(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*command.split(), "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"Usage: darkit-nb {command}")
    for line in text.splitlines():
        words = line.strip("│* ").split()
        if words and words[0].startswith("--") and "│" in line:
            assert len(words) > 3, f"{line!r} has no description"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.strip() == __version__


def processor_seconds() -> float:
    """Of the processes that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_start_up_is_quick_and_light() -> None:
    """The best of several starts, in processor time: the machine may be busy, the program must not be."""
    times = []
    for _ in range(6):
        start = processor_seconds()
        done = call("--help")
        times.append(processor_seconds() - start)
        assert done.returncode == 0
        if times[-1] < START_SECONDS:
            break
    assert min(times) < START_SECONDS, times


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--keys"], ["train", "train.stepz=1"], ["runs", "list"]])
def test_light_commands_load_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    code = (
        "import sys\nfrom darkit_nb.cli.app import run\nrun(sys.argv[1:])\n"
        "heavy = {'torch', 'transformers', 'datasets', 'cupy', 'ipywidgets'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr


def test_errors_are_words_on_stderr_and_status_2(tmp_path: Path) -> None:
    done = call("train", "train.stepz=3", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        "darkit-nb: There is no setting 'train.stepz'.",
        "  expected: 'train.steps'",
        "  received: 'train.stepz' = 3 (integer)",
        "  what to do: did you mean 'train.steps'?",
    ]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["trian"], ["train", "--bogus"], ["resume"], ["generate", "x", "--seed", "y"]])
def test_misuse_is_status_2_without_a_traceback(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    printed = capsys.readouterr()
    assert "Traceback" not in printed.out + printed.err
    assert printed.out + printed.err


def test_a_bug_shows_its_traceback_and_status_1(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import darkit_nb.runs as r\ndef f(*a): raise KeyError('bug')\nr.list_runs = f\n"
    )
    done = call("runs", "list", cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert "KeyError: 'bug'" in done.stderr
    assert "Traceback" in done.stderr


def test_ctrl_c_is_one_line_and_status_130(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import darkit_nb.runs as r, time\n"
        "def f(*a):\n    print('up', flush=True)\n    time.sleep(600)\nr.list_runs = f\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "darkit_nb", "runs"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(tmp_path)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a suite in the background ignores Ctrl-C
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=400)
    assert process.returncode == 130
    assert errors.strip() == "darkit-nb: interrupted"


def test_a_closed_pipe_is_no_error(tmp_path: Path) -> None:
    line = f"{sys.executable} -m darkit_nb train --keys | head -n 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.stderr == ""
    assert done.stdout == "schema = 1\n"
    assert done.returncode in (0, 141)
