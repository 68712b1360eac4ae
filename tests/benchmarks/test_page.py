"""The page of benchmarks is what its rows say."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import page
from benchmarks.plots import Dot, Group, dot_plot

PICTURES = page.PAGE.parent / "pictures"


def test_page_and_pictures_agree_with_the_rows(tmp_path: Path):
    text = page.PAGE.read_text()
    until = re.search(r"\(\.\./benchmarks/results\) until (\S+)\. ", text)
    assert until is not None
    assert page.page(until[1], tmp_path) == text
    shown = set(re.findall(r"\(pictures/(\w+\.svg)\)", text))
    assert shown == {each.name for each in tmp_path.iterdir()}
    for name in shown:
        assert (PICTURES / name).read_text() == (tmp_path / name).read_text()


def test_a_changed_figure_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    seen = page.rows("kernels_cpu")
    assert seen
    next(iter(seen[-1]["seconds"].values()))["median"] *= 10
    monkeypatch.setattr(page, "rows", lambda name: seen if name == "kernels_cpu" else [])
    until = max(row["time"] for row in seen)
    changed = page.page(until, tmp_path)
    monkeypatch.undo()
    assert changed.partition("## One training")[0] != page.page(until, tmp_path).partition("## One training")[0]


ROW = {
    "benchmark": "kernels_cpu",
    "time": "2026-01-01T00:00:00+00:00",
    "commit": "abc",
    "device": "a processor",
    "threads": 1,
    "operation": "LIF forward",
    "steps": 4,
    "neurons": 1000,
    "seconds": {name: {"median": each, "p10": each, "p90": each} for name, each in (("copy", 1e-3), ("native", 2e-3))},
    "ratio": {"native": {"median": 2.0, "p10": 1.5, "p90": 2.5}},
}


def test_a_table_has_every_rival_and_its_fraction_of_the_limit():
    text = "\n".join(page.table(ROW))
    assert "a processor, 1 threads, commit abc, 2026-01-01" in text
    # read and written once, and a membrane for every four inputs: 1.125 copies, in the time of two
    assert "| native | 2 ms | 2 ms–2 ms | 2 | 0.56 |" in text


def test_what_was_not_measured_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    missing = {**ROW, "operation": "LIF forward", "not_measured": "no CUDA device here"}
    for key in ("seconds", "ratio", "steps", "neurons"):
        del missing[key]
    monkeypatch.setattr(page, "rows", lambda name: [missing] if name == "kernels_cuda" else [])
    text = page.page(ROW["time"], tmp_path)
    assert "**LIF forward**: not measured (no CUDA device here)." in text
    assert "Not measured yet: `darkit-nb bench training_step`." in text
    assert not list(tmp_path.iterdir())


def test_the_newest_row_of_a_shape_counts_and_unclean_ones_do_not(monkeypatch: pytest.MonkeyPatch):
    older, newer, dirty, late = (
        {**ROW, "time": f"2026-01-0{day}", "commit": name, "changed": name == "dirty"}
        for day, name in ((1, "older"), (2, "newer"), (3, "dirty"), (9, "late"))
    )
    other = {**ROW, "neurons": 5, "time": "2026-01-01"}
    missing = {"operation": "LIF forward", "time": "2026-01-01", "not_measured": "as long as nobody has a GPU"}
    monkeypatch.setattr(page, "rows", lambda name: [missing, older, other, newer, dirty, late])
    assert [row["commit"] for row in page.latest("kernels_cpu", "2026-01-05")] == ["newer", "abc"]


def test_a_picture_is_readable_on_light_and_dark_pages():
    picture = dot_plot("title <", "copies", [Group("a", [Dot("x", 2.0, 1.0, 30.0), Dot("y", 0.1, 0.1, 0.2)])])
    ElementTree.fromstring(picture)  # noqa: S314 - our own file
    style = re.search(r"<style>(.*?)</style>", picture)
    assert style is not None
    light, _, dark = style[1].partition("@media(prefers-color-scheme:dark)")
    assert set(re.findall(r"\.(\w+)\{", light)) == set(re.findall(r"\.(\w+)\{", dark))
    assert "title &lt;" in picture
    places = [float(each) for each in re.findall(r'cx="([\d.]+)"', picture)]
    assert places[0] > places[1]
    assert max(places) < 860 - 60
