"""Cores a process may use: affinity, and a container's quota in both of its forms."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from darkit_nb.config import cores
from darkit_nb.config.cores import available_cores

NOWHERE = Path("/nowhere/cpu")


@pytest.fixture(autouse=True)
def _eight_cores(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("max 100000", 8),
        ("200000 100000", 2),
        ("150000 100000", 2),
        ("10000 100000", 1),
        ("9900000 100000", 8),
        ("", 8),
    ],
)
def test_version_two_quota(tmp_path: Path, text: str, expected: int):
    (tmp_path / "cpu.max").write_text(text + "\n")
    assert available_cores(tmp_path / "cpu.max", (NOWHERE, NOWHERE)) == expected


@pytest.mark.parametrize(("quota", "expected"), [("-1", 8), ("300000", 3)])
def test_version_one_quota(tmp_path: Path, quota: str, expected: int):
    (tmp_path / "quota").write_text(quota + "\n")
    (tmp_path / "period").write_text("100000\n")
    assert available_cores(NOWHERE, (tmp_path / "quota", tmp_path / "period")) == expected


def test_without_a_quota_the_affinity_counts():
    assert available_cores(NOWHERE, (NOWHERE, NOWHERE)) == 8


def test_here_it_is_at_least_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.undo()
    assert 1 <= cores.available_cores() <= (os.cpu_count() or 1)
