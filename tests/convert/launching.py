"""Command lines in several processes that form a group, as a launcher starts them, but forked from one that has torch.

A launcher is a process itself, and each of its children loads torch anew: twenty seconds for what takes one here.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, Literal
from unittest.mock import patch

from torch.distributed import TCPStore

PRELOADED = ["tests.convert.launching", "darkit_nb.convert.job", "darkit_nb.cli.app", "darkit_nb.evaluate"]


@dataclass(frozen=True)
class Harm:
    """What happens to one process.

    Attributes:
        rank: which one.
        where: function that does it when called.
        call: at which call, from 1.
        act: kill it, let it do nothing until it is interrupted, or raise an error there.
    """

    rank: int
    where: str = "darkit_nb.convert.block.quantise_weight"
    call: int = 10
    act: Exception | Literal["kill", "idle"] = "kill"


@dataclass(frozen=True)
class Together:
    """Processes that run one command line, what each has said, and the store they meet through."""

    processes: list[BaseProcess]
    logs: list[Path]
    store: TCPStore

    def wait(self) -> list[int | None]:
        """Exit codes, when all have ended."""
        for process in self.processes:
            process.join()
        return [process.exitcode for process in self.processes]

    def said(self, rank: int) -> str:
        """Everything one has printed."""
        return self.logs[rank].read_text()


def launch(arguments: list[str], folder: Path, *, count: int = 2, harm: Harm | None = None) -> Together:
    """Run `darkit-nb ARGUMENTS` in `count` processes.

    Args:
        arguments: of the command.
        folder: for what they print.
        harm: what happens to one of them.
    """
    # As launchers do: the store outlives every process.
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    told = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), "WORLD_SIZE": str(count)}
    told["TORCHELASTIC_USE_AGENT_STORE"] = "True"
    told |= {name: os.environ[name] for name in ("DARKIT_CACHE",) if name in os.environ}
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(PRELOADED)
    logs = [folder / f"said-{rank}.txt" for rank in range(count)]
    processes: list[Any] = [
        server.Process(target=_run, args=(arguments, log, {**told, "RANK": str(rank), "LOCAL_RANK": str(rank)}, harm))
        for rank, log in enumerate(logs)
    ]
    for process in processes:
        process.start()
    return Together(processes, logs, store)


def _run(arguments: list[str], log: Path, told: dict[str, str], harm: Harm | None) -> None:
    import torch

    from darkit_nb.cli.app import run

    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(handle, stream)
    os.environ.update(told)
    torch.set_num_threads(1)
    if harm is not None and told["RANK"] == str(harm.rank):
        _bring_about(harm)
    sys.exit(run(arguments))


def _bring_about(harm: Harm) -> None:
    place, _, name = harm.where.rpartition(".")
    original = getattr(resolve_name(place), name)
    calls = 0

    def call(*args: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == harm.call and isinstance(harm.act, Exception):
            raise harm.act
        if calls == harm.call and harm.act == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        while calls == harm.call and harm.act == "idle":
            time.sleep(0.01)
        return original(*args, **named)

    patch(harm.where, call).start()
