"""The README of the kernels says what the formulas give and what the rows hold."""

from __future__ import annotations

import pytest

from benchmarks import kernel_tables
from benchmarks.kernel_tables import README, gpu_table, measured, register_table, rows

TEXT = README.read_text(encoding="utf-8")


def test_counted_bytes_and_roofline_times_are_those_of_the_formulas() -> None:
    for line in gpu_table().splitlines():
        assert line.rsplit("|", 2)[0] in TEXT  # but for what a GPU measured meanwhile


def test_registers_are_those_of_the_rows() -> None:
    assert register_table() in TEXT


def test_fractions_of_the_cpu_are_those_of_rows() -> None:
    inside = TEXT.split("### On a CPU")[1].split("###")[0]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in inside.strip().splitlines()[2:]]
    assert lines
    for operation, _, threads, limit, ratio, fraction, commit in lines:
        of_commit = [row for row in rows("kernels_cpu") if f"`{row['commit']}`" == commit]
        found = [row for row in of_commit if row["operation"] == operation and str(row["threads"]) == threads]
        assert any(f"{row['ratio']['native']['median']:.2f}" == ratio for row in found), (operation, commit)
        assert float(fraction) == pytest.approx(float(limit) / float(ratio), rel=0.02, abs=0.011)  # of rounded figures


def test_every_generation_and_dtype_is_compiled_without_spills() -> None:
    found = {(row["kernel"], row["architecture"], row["dtype"]): row for row in rows("registers")}
    kernels = {
        "gif",
        "gif_backward",
        "gif_clip",
        "neuron_scan",
        "neuron_scan_backward",
        "packed_matvec",
        "spike_epilogue",
    }
    for kernel in kernels:
        for architecture in (75, 80, 86, 89, 90, 100, 120):
            for dtype in ("float32", "float16", "bfloat16"):
                assert found[kernel, f"sm_{architecture}", dtype]["spilled_bytes"] == 0
    assert all(row["spilled_bytes"] == 0 for row in found.values())


def test_a_gpu_row_fills_its_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"operation": "quantise and fire", "shape": [2048, 4096], "dtype": "bfloat16", "device": "a card"}
    found = [{**row, "commit": "abc", "limit": {"ours": {"bytes": 1, "fraction": 0.9}}}]
    assert measured("`gif`, counts in bytes", "bfloat16") == "not measured" or rows("kernels_cuda")
    monkeypatch.setattr(kernel_tables, "rows", lambda name: found if name == "kernels_cuda" else [])
    assert measured("`gif`, counts in bytes", "bfloat16") == "0.90 (a card, `abc`)"
    assert measured("`gif`, counts in bytes", "float32") == "not measured"
