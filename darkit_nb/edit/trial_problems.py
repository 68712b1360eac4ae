"""From an exception, or the end of a process, to what the author of an edit reads. Loads no torch."""

from __future__ import annotations

import dataclasses
import signal

from darkit_nb.edit.trial_lines import line_of
from darkit_nb.errors import DarkitError
from darkit_nb.records.patch import PatchProblem

_MEMORY = ("can't allocate memory", "out of memory", "unable to allocate", "std::bad_alloc")
_DEVICE = ("same device", "not compiled with cuda", "expected device", "different devices")
_DOING = {
    "start": "starting",
    "copy": "unpacking the copy of the module",
    "import": "importing the text",
    "parameters": "comparing parameters",
    "forward": "running forward",
    "training": "running forward in training",
    "backward": "computing the gradient",
    "state": "drawing random numbers",
    "device": "checking devices",
}


def failed(error: BaseException, folder: str, check: str) -> PatchProblem:
    """An exception raised by an edit, or by what it called.

    Args:
        error: what was raised.
        folder: where the files of the edit are; the innermost line in one of them is the line of the problem.
        check: what was being checked.
    """
    line = line_of(error, folder)
    cause = _first(error, SystemExit | KeyboardInterrupt)
    if cause is not None:
        said = f"{type(cause).__name__}({cause.code!r})" if isinstance(cause, SystemExit) else type(cause).__name__
        return _exit_problem("The edit ends the program.", line, said)
    text = f"{type(error).__name__}: {str(error).strip()}"
    if _first(error, MemoryError) is not None or any(each in text.lower() for each in _MEMORY):
        return PatchProblem(
            check="memory",
            message="The edit takes more memory than the trial may.",
            line=line,
            received=text.splitlines()[0],
            fix="make the tensor smaller, or raise memory_limit_bytes",
        )
    if isinstance(error, DarkitError):
        told = error.to_dict()
        fix = error.fix or "mend the line named; the class as it was has no such fault"
        return PatchProblem(check=check, line=line, **{**told, "message": error.message, "fix": fix})
    if any(each in text.lower() for each in _DEVICE):
        return device_fault(text.splitlines()[0], line)
    first = text.splitlines()[0]
    return PatchProblem(
        check="forward" if check == "training" else check,
        message=f"It fails while {_DOING.get(check, check)}: {first.rstrip('.')}.",
        line=line,
        expected="a result",
        received=first,
        cause="it calls itself without end" if isinstance(error, RecursionError) else None,
        fix="look at the line named; the original class runs on the same inputs",
    )


def device_fault(received: str, line: int | None) -> PatchProblem:
    """Tensors on different devices meet, or the output is somewhere else than before."""
    return PatchProblem(
        check="device",
        message="Tensors of different devices meet in this edit.",
        line=line,
        expected="new tensors on the device of the input",
        received=received,
        fix="write torch.zeros(…, device=x.device), or make it a buffer in __init__",
    )


def stopped(status: int | None, stage: str, line: int | None, *, limit_s: float, output: str) -> PatchProblem:
    """A trial that ended without a result.

    Args:
        status: exit status, minus the number of the signal that ended it; None where the time was up.
        stage: what was being done.
        line: line of the edit that ran last.
        limit_s: the time it had.
        output: what it printed.
    """
    doing = _DOING.get(stage, stage)
    if status is None:
        problem = PatchProblem(
            check="time",
            message=f"It was not done after {limit_s:g} s, while {doing}, and was stopped.",
            line=line,
            expected=f"all checks within {limit_s:g} s",
            cause="a loop without end, or a module that is slow on this machine's CPU",
            fix="look at the line named, or raise time_limit_s",
        )
    elif status == -signal.SIGKILL:
        problem = PatchProblem(
            check="memory",
            message=f"The system ended the trial while {doing}.",
            line=line,
            received="SIGKILL",
            cause="the machine ran out of memory, or the edit killed its own process",
            fix="try a smaller batch, or lower memory_limit_bytes to see which line takes it",
        )
    elif status < 0:
        name = signal.Signals(-status).name if -status in {each.value for each in signal.Signals} else str(status)
        problem = PatchProblem(
            check="crash",
            message=f"The process of the trial crashed with {name} while {doing}.",
            line=line,
            expected="a result",
            received=name,
            cause="compiled code was given memory that is not its own",
            fix="look at the line named, and at what it hands to compiled code",
        )
    else:
        problem = _exit_problem("The edit ends the process.", line, f"exit status {status}")
    return printed(problem, output)


def printed(problem: PatchProblem, output: str) -> PatchProblem:
    """The problem with what the edit had printed, so that a print is of use."""
    text = output.strip()
    if not text:
        return problem
    said = f"{problem.received}; it printed: {text}" if problem.received else f"it printed: {text}"
    return dataclasses.replace(problem, received=said)


def _exit_problem(message: str, line: int | None, received: str) -> PatchProblem:
    return PatchProblem(
        check="exit",
        message=message,
        line=line,
        expected="a forward that returns",
        received=received,
        cause="in a notebook this would end the kernel, in a run the training",
        fix="raise an exception instead, or return",
    )


def _first(error: BaseException, kinds: type[BaseException] | object) -> BaseException | None:
    seen: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in seen:
        if isinstance(link, kinds):  # type: ignore[arg-type]
            return link
        seen.append(link)
        link = link.__cause__ or link.__context__
    return None
