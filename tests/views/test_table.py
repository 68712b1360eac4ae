"""Tables fit the width they are given and say the same to rich."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from darkit_nb.views.table import TableView, columns_of

TABLE = TableView(
    title="Things",
    headers=("name", "count", "share"),
    rows=(("a.very.long.dotted.name.of.a.layer", "1", "10 %"), ("短い", "22", "90 %"), ("all", "23", "100 %")),
    notes=("A note that is long enough to be wrapped when the table is narrow.",),
    total=True,
)


@pytest.mark.parametrize("width", [30, 48, 80])
def test_no_line_is_wider_than_asked(width: int):
    lines = TABLE.to_text(width).splitlines()
    assert max(map(columns_of, lines)) <= width


def test_columns_are_aligned_also_beside_wide_letters():
    lines = TABLE.to_text().splitlines()
    cells = [line for line in lines if line.endswith("%")]
    assert {columns_of(line[: line.rindex(" %")]) for line in cells} == {columns_of(cells[0][: cells[0].rindex(" %")])}
    assert len(cells) == 3


def test_a_long_name_loses_its_beginning_and_keeps_its_end():
    text = TABLE.to_text(30)
    assert "of.a.layer" in text
    assert "a.very" not in text
    assert "…" in text


def test_the_total_is_set_off_by_a_rule():
    lines = TABLE.to_text().splitlines()
    place = next(index for index, line in enumerate(lines) if line.startswith("all"))
    assert set(lines[place - 1]) == {"─"}


@pytest.mark.parametrize("width", [40, 80])
def test_rich_shows_the_same_lines(width: int):
    out = io.StringIO()
    Console(file=out, width=width, color_system=None).print(TABLE)
    assert [line.rstrip() for line in out.getvalue().splitlines()] == TABLE.to_text(width).splitlines()


def test_a_table_without_rows_is_headers_and_notes():
    empty = TableView("Nothing", ("name", "count"), ())
    assert empty.to_text().splitlines()[:2] == ["Nothing", "name      count"]
    assert str(empty) == empty.to_text()


def test_the_static_table_escapes_its_cells_and_needs_nothing_from_elsewhere():
    page = TableView("A & B", ("name", "n"), (("<script>", "1"), ("all", "2")), notes=("x < y",), total=True).to_html()
    assert "&lt;script&gt;" in page
    assert "A &amp; B" in page
    assert "x &lt; y" in page
    assert page.count("font-weight:600") == 2
    assert "<script" not in page
    assert "http" not in page
