"""What the notebook's interface costs: the time until the Studio stands, the watching of ten runs, memory in use.

Measured in a real kernel, as a cell of a notebook would run it; no browser is involved, so drawing is not counted.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import start_new_kernel

from benchmarks.harness import spread
from darkit_nb.config import RunConfig
from darkit_nb.runs import RunDirectory

STUDIO = """
import time; began = time.perf_counter()
import darkit_nb as dk
studio = dk.Studio(runs_dir={runs_dir!r})
display(studio)
seconds = time.perf_counter() - began
"""
HEAVY = "import sys; [n for n in ('torch', 'transformers', 'datasets', 'accelerate', 'cupy') if n in sys.modules]"
WATCH = """
import os, pathlib, time, darkit_nb as dk
from darkit_nb.runs import RunMonitor
heard = []
for run in dk.list_runs({runs_dir!r}):
    RunMonitor.shared().watch(run, lambda change: heard.append(len(change.metrics)))
time.sleep(3)
before, began = sum(os.times()[:2]), time.perf_counter()
time.sleep({seconds})
share = (sum(os.times()[:2]) - before) / (time.perf_counter() - began)
"""


class Kernel:
    """A kernel of Jupyter that runs one cell at a time."""

    def __init__(self, folder: Path) -> None:
        self._manager, self._client = start_new_kernel(cwd=str(folder))

    def run(self, source: str, timeout_s: float = 120.0) -> str:
        """Run a cell; returns the text of its result."""
        found: list[str] = []

        def heard(message: dict[str, Any]) -> None:
            content = message["content"]
            if message["msg_type"] == "execute_result":
                found.append(content["data"]["text/plain"])
            if message["msg_type"] == "error":
                raise RuntimeError("\n".join(content["traceback"]))

        self._client.execute_interactive(source, timeout=timeout_s, output_hook=heard)
        return "\n".join(found)

    def begin(self, source: str) -> None:
        """Send a cell and do not wait."""
        self._client.execute(source)

    def close(self) -> None:
        """End the kernel."""
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)


def studio_seconds(repeats: int) -> tuple[list[float], list[float]]:
    """Seconds inside the cell and as a front end sees it, in fresh kernels."""
    inside, outside = [], []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            kernel = Kernel(Path(folder))
            try:
                began = time.perf_counter()
                kernel.run(STUDIO.format(runs_dir=str(Path(folder) / "runs")))
                outside.append(time.perf_counter() - began)
                inside.append(float(kernel.run("seconds")))
                assert kernel.run(HEAVY) == "[]", "the Studio loaded what it must not"
            finally:
                kernel.close()
    return inside, outside


def watching_share(seconds: float) -> float:
    """Share of one core that ten growing, running runs cost the kernel that watches them."""
    with tempfile.TemporaryDirectory() as folder:
        runs = [RunDirectory.create(RunConfig(runs_dir=folder, name=f"r{i}"), command="test") for i in range(10)]
        for run in runs:
            run.begin_attempt()
        kernel = Kernel(Path(folder))
        try:
            kernel.begin(WATCH.format(runs_dir=folder, seconds=seconds))
            until, step = time.monotonic() + seconds + 6, 0
            while time.monotonic() < until:
                step += 1
                for run in runs:
                    run.append_metrics({"kind": "train", "step": step, "loss": 2.0, "tokens_per_s": 1e4})
                time.sleep(0.1)
            heard = int(kernel.run("sum(heard)"))
            assert heard > 10 * step / 2, f"only {heard} of {10 * step} lines were seen"
            return float(kernel.run("share"))
        finally:
            kernel.close()


TRAIN = """
import time, darkit_nb as dk
studio = dk.Studio(config=dk.load_config(overrides=["train.steps=2000", "train.max_seconds=90", "runs_dir=runs"]))
display(studio)
studio.form.start()
run = studio.run
while (run.status.step or 0) < 30: time.sleep(0.5)
for page in ("Spikes", "Generate", "Runs", "Watch"): studio.page = page
run.probe("def spike(membrane):").wait(60)
time.sleep(3)
"""


def memory_bytes() -> dict[str, int]:
    """Memory of a Jupyter server, one kernel with the whole Studio, and the training it started, pages shared once."""
    mark = secrets.token_hex(8)
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", "--port=0"]
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "JUPYTER_RUNTIME_DIR": folder, "JUPYTER_CONFIG_DIR": folder, "DARKIT_MARK": mark}
        server = subprocess.Popen(
            [*command, f"--IdentityProvider.token={mark}", f"--ServerApp.root_dir={folder}"],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            client = BlockingKernelClient(connection_file=_connection_file(Path(folder), mark))
            client.load_connection_file()
            client.start_channels()
            client.wait_for_ready(60)
            reply = client.execute_interactive(TRAIN, timeout=180, output_hook=lambda message: None)
            if reply["content"]["status"] != "ok":
                raise RuntimeError("\n".join(reply["content"]["traceback"]))
            return _memory_by_role(mark)
        finally:
            for process in _marked(mark):
                process.kill()
            server.wait(30)


def _connection_file(runtime: Path, token: str) -> str:
    """Start a kernel through the server's own interface."""
    until = time.monotonic() + 60
    while not (found := list(runtime.glob("jpserver-*.json"))):
        if time.monotonic() > until:
            raise RuntimeError("the Jupyter server did not start")
        time.sleep(0.2)
    url = json.loads(found[0].read_text())["url"]
    request = urllib.request.Request(f"{url}api/kernels", data=b"{}", method="POST")  # noqa: S310 - our own server
    request.add_header("Authorization", f"token {token}")
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        return str(runtime / f"kernel-{json.loads(answer.read())['id']}.json")


def _marked(mark: str) -> list[psutil.Process]:
    """Every process that inherited the mark."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("DARKIT_MARK") == mark:
                found.append(process)
        except psutil.Error:
            continue
    return found


def _memory_by_role(mark: str) -> dict[str, int]:
    roles = {"train.worker": "trainer", "runs.supervisor": "supervisor", "ipykernel": "kernel", "jupyterlab": "server"}
    found = dict.fromkeys([*roles.values(), "other"], 0)
    for process in _marked(mark):
        words = " ".join(process.cmdline())
        role = next((role for part, role in roles.items() if part in words), "other")
        found[role] += process.memory_full_info().pss
    return {**found, "total": sum(found.values())}


def run(quick: bool) -> Iterator[dict[str, Any]]:
    """One row."""
    inside, outside = studio_seconds(2 if quick else 5)
    share = watching_share(3 if quick else 10)
    yield {
        "studio_cell_seconds": spread(inside),
        "studio_with_round_trip_seconds": spread(outside),
        "ten_runs_share_of_a_core": share,
        "memory_bytes": memory_bytes(),
        "aims": {"studio_seconds": 2.5, "ten_runs_share_of_a_core": 0.02, "memory_bytes": 1_500_000_000},
    }
