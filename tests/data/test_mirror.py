"""Ids, the mirror folder, and whether there is a network."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from darkit_nb.data.mirror import absent, check_id, find_mirrored, hub_reachable


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("name", ["gpt2", "org/name", "HuggingFaceFW/fineweb", "a.b-c_d/E.f", "_x"])
def test_good_ids(name: str) -> None:
    check_id("dataset", name)


def test_first_name_that_exists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DARKIT_DATA", raising=False)
    assert find_mirrored("dataset", "b") is None
    monkeypatch.setenv("DARKIT_DATA", str(tmp_path))
    (tmp_path / "datasets" / "b" / "c").mkdir(parents=True)
    assert find_mirrored("dataset", "a", "b/c", "b") == tmp_path / "datasets" / "b" / "c"
    assert find_mirrored("tokenizer", "b") is None


def test_reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
        assert hub_reachable()
    assert not hub_reachable()
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    assert hub_reachable()


def test_what_is_missing_is_told_apart_from_no_network() -> None:
    refused = absent("dataset", "a", "datasets/a", "do.", ValueError("BuilderConfig 'x' not found"))
    assert "could not be loaded from the hub" in str(refused)
    chained = ValueError("cannot load")
    chained.__cause__ = ConnectionError("no route")
    assert "hub cannot be reached" in str(absent("dataset", "a", "datasets/a", "do.", chained))
