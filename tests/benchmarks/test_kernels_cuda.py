"""The benchmarks of a GPU run through on a CPU, where their kernels are other ones, and say there is no GPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import counted_bytes, cuda_harness, kernels_cuda

ROOT = Path(__file__).parent.parent.parent


MISSING = ("ipywidgets", "anywidget", "plotly", "datasets", "torchview")
PROGRAM = f"""
import json, sys
for name in {MISSING!r}:
    sys.modules[name] = None
from benchmarks.kernels_cuda import measure
for row in measure("cpu", True):
    print("row", json.dumps(row))
"""


@pytest.fixture(scope="module")
def rows() -> list[dict]:
    """As on a machine that has torch, transformers and CuPy, and nothing to show things with."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line[4:]) for line in done.stdout.splitlines() if line.startswith("row ")]


def test_every_operation_has_rows_with_what_a_reader_needs(rows: list[dict]):
    assert {row["operation"] for row in rows} >= set(kernels_cuda.OPERATIONS)
    for row in rows:
        assert {"operation", "on", "backend", "dtype", "shape", "seconds", "ratio", "rounds"} <= set(row)
        assert all(0 < each["p10"] <= each["median"] <= each["p90"] for each in row["seconds"].values())
    limited = [row for row in rows if "limit" in row]
    assert {row["operation"] for row in limited} == set(kernels_cuda.OPERATIONS[:6])
    for row in limited:
        ours = row["limit"]["ours"]
        measured = ours["bytes"] / (2 * row["shape"][0] * row["shape"][1] * 4) / row["ratio"]["ours"]["median"]
        assert ours["fraction"] == pytest.approx(measured, rel=1e-3)


def test_working_sets_are_several_and_none_is_timed_twice_in_a_row(rows: list[dict]):
    assert all(row["working_sets"] >= 2 for row in rows if row["operation"] != "training step")
    seen: list[int] = []
    bench = cuda_harness.Bench("cpu", rounds=2)
    sets = bench.sets(lambda index: index, 10**9)
    bench.row("toy", sets, {"a": seen.append, "b": lambda _: None}, agree=lambda _: None)
    assert seen[-4:] == [*sets, *sets]


def test_a_rival_that_does_other_work_is_not_timed():
    bench = cuda_harness.Bench("cpu", rounds=1)
    x = torch.zeros(3)

    def agree(results):
        torch.testing.assert_close(results["ours"], results["theirs"])

    with pytest.raises(AssertionError):
        bench.row("toy", [x, x], {"ours": lambda x: x, "theirs": lambda x: x + 1}, agree=agree)


def test_a_rival_that_fails_is_left_out_and_the_row_says_why():
    def broken(x: torch.Tensor) -> torch.Tensor:
        raise ImportError("no compiler\nand much more")

    bench, x = cuda_harness.Bench("cpu", rounds=1), torch.zeros(3)
    rivals = {"copy": lambda x: x, "theirs": broken}
    row = bench.row("toy", [x, x], rivals, agree=lambda _: None)
    assert row["not_measured_rivals"] == {"theirs": "ImportError: no compiler"}
    assert set(row["seconds"]) == {"copy"}
    with pytest.raises(ImportError):
        bench.row("toy", [x, x], {"copy": lambda x: x, "ours": broken}, agree=lambda _: None)


def test_a_part_that_fails_is_a_row_and_the_next_one_runs(monkeypatch: pytest.MonkeyPatch):
    def fails(*_: object):
        yield {"operation": "first", "on": "cpu"}
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 7 GiB")

    for module, names in (
        (kernels_cuda.cuda_neurons, ("forward", "backward")),
        (kernels_cuda.cuda_tokens, ("forward",)),
    ):
        for name in names:
            monkeypatch.setattr(module, name, fails)
    for name in ("_linear", "_training"):
        monkeypatch.setattr(kernels_cuda, name, fails)
    rows = list(kernels_cuda.measure("cpu", True))
    failed = [row for row in rows if "not_measured" in row]
    assert [row["operation"] for row in failed] == [
        "LIF forward", "LIF backward", "quantise and fire", "spiking linear", "one token", "training step",
    ]  # fmt: skip
    assert all(row["not_measured"].startswith("OutOfMemoryError: CUDA out of memory") for row in failed)
    assert all("seconds" in row for row in rows if row["operation"] == "quantise and fire, backward")


def test_small_differences_of_rivals_are_told_and_large_ones_refused():
    wanted = torch.zeros(1000)
    few, many = wanted.clone(), wanted.clone()
    few[:3], many[:300] = 1.0, 1.0
    agreeing = cuda_harness.agreeing
    assert agreeing({"copy": many, "law": wanted, "ours": wanted, "theirs": few}, expected="law", exact=True) == {
        "theirs": 0.003
    }
    for results in ({"theirs": many}, {"ours": few}):
        with pytest.raises(AssertionError):
            agreeing({"law": wanted, **results}, expected="law", exact=True)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_every_operation_says_so():
    rows = list(kernels_cuda.run(quick=False))
    assert [row["operation"] for row in rows] == list(kernels_cuda.OPERATIONS)
    assert all("CUDA" in row["not_measured"] and "seconds" not in row for row in rows)


def test_the_old_spikingjelly_is_asked_in_its_own_interpreter(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(cuda_harness.OLD_SPIKINGJELLY, raising=False)
    assert "names no interpreter" in str(cuda_harness.old_spikingjelly(4, 8, 1))
    monkeypatch.setenv(cuda_harness.OLD_SPIKINGJELLY, sys.executable)
    assert "spikingjelly" in str(cuda_harness.old_spikingjelly(4, 8, 1))  # not installed here, and it says so


def test_counted_bytes_are_those_of_the_kernels():
    """The figures of the roofline: LIF of 4 steps in bfloat16, and quantise-and-fire to bytes."""
    neurons = 2**24
    assert counted_bytes.neuron_forward(4, neurons, 2, spike_bits=8) == (3 * 4 + 4) * neurons
    assert counted_bytes.neuron_forward(4, neurons, 2, spike_bits=1) == (4 * 2 + 4 / 8 + 4) * neurons
    assert counted_bytes.neuron_backward(4, neurons, 2) == 6 * 4 * neurons
    assert counted_bytes.quantise_forward(2048, 4096, 2, count_bits=8) == 2048 * (3 * 4096 + 8)
    assert counted_bytes.quantise_forward(7, 5, 2, count_bits=4) == 7 * (10 + 3 + 8)
    assert counted_bytes.quantise_backward_clipped(2, 9, 4) == 2 * (9 * 8 + 2)
    assert counted_bytes.quantise_backward_range(2, 9, 4, groups=2) == 2 * (9 * 12 + 16)
    assert counted_bytes.linear_weights(10, 128, weight_bits=4, group_size=32) == 10 * (64 + 16)
    # as tests/functional/test_packed_spikes.py counts them in real tensors
    assert counted_bytes.attention_codes(10, 2, 128, count_bits=4, salient=20, groups=2) == 2 * 10 * (2 * 70 + 20)
