"""Long texts are cut where it does not matter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from darkit_nb.data.pieces import split_text
from darkit_nb.data.tokenizer_files import load_folder


@given(st.text(st.sampled_from("ab \n."), max_size=300), st.integers(1, 40))
def test_pieces_make_up_the_text(text: str, size: int) -> None:
    pieces = list(split_text(text, size))
    assert "".join(pieces) == text
    assert all(pieces)
    assert all(len(piece) <= 10 * size for piece in pieces[:-1])


def test_pieces_are_cut_at_single_line_breaks_first() -> None:
    assert list(split_text("one\ntwo\n\nthree\nfour\n", 5)) == ["one\ntwo\n\nthree\n", "four\n"]
    assert list(split_text("one two three", 5)) == ["one two", " three"]
    assert list(split_text("a" * 25, 1)) == ["a" * 10, "a" * 10, "a" * 5]


def test_cutting_does_not_change_gpt2_ids(test_data: Path) -> None:
    tokenizer = load_folder("gpt2", test_data / "tokenizers" / "gpt2")
    text = (test_data / "novels" / "valid.txt").read_text()[:60_000]
    pieces = list(split_text(text, 500))
    assert len(pieces) > 20
    assert np.array_equal(np.concatenate(tokenizer.encode(pieces)), tokenizer.encode([text])[0])
