"""Text of tokens one by one: whole characters, and together the text of all ids."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from darkit_nb.data.byte_tokenizer import ByteTokenizer
from darkit_nb.data.text_stream import TextStream


def pieces(ids: list[int], decode) -> list[str]:
    stream = TextStream(decode)
    return [*(stream.push(one) for one in ids), stream.end()]


def test_bytes_of_a_character_are_held_until_it_is_whole():
    decode = ByteTokenizer().decode
    assert pieces([*"a€😀".encode()], decode) == ["a", "", "", "€", "", "", "", "😀", ""]


def test_a_cut_off_character_comes_out_at_the_end_and_a_broken_one_soon():
    decode = ByteTokenizer().decode
    assert pieces([*b"a\xe4\xbd"], decode) == ["a", "", "", "\N{REPLACEMENT CHARACTER}"]
    out = pieces([0xFF] * 10, decode)
    assert sum(len(piece) for piece in out) == 10
    assert out[3] != ""


@given(st.text(max_size=30))
def test_pieces_make_up_the_text(text: str):
    decode = ByteTokenizer().decode
    assert "".join(pieces([*text.encode()], decode)) == text


@given(st.binary(max_size=40), st.text(max_size=3))
def test_a_character_after_any_rubbish_is_whole(rubbish: bytes, text: str):
    out = "".join(pieces([*rubbish, *b"\n", *text.encode()], ByteTokenizer().decode))
    assert out.endswith("\n" + text)


def test_a_tokenizer_that_strips_the_first_blank_keeps_the_others():
    words = {1: "▁one", 2: "▁two", 3: "", 4: "▁three"}

    def decode(ids: list[int]) -> str:
        return "".join(words[one] for one in ids).replace("▁", " ").removeprefix(" ")

    assert pieces([1, 2, 3, 4], decode) == ["one", " two", "", " three", ""]
