"""`bytes`: the NumPy path, the tokenizers backend and transformers agree, on every text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from darkit_nb.data.byte_tokenizer import ByteTokenizer, byte_letters
from darkit_nb.data.tokenizer import OWN_SPECIALS

TOKENIZER = ByteTokenizer()
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)


@given(TEXTS)
def test_round_trip(text: str) -> None:
    (ids,) = TOKENIZER.encode([text])
    assert ids.tolist() == list(text.encode())
    assert TOKENIZER.decode(ids) == text


@given(st.lists(TEXTS | st.sampled_from(OWN_SPECIALS), max_size=4))
def test_fast_path_gives_the_ids_of_the_backend(texts: list[str]) -> None:
    slow = super(ByteTokenizer, TOKENIZER).encode(texts)
    assert [ids.tolist() for ids in TOKENIZER.encode(texts)] == [ids.tolist() for ids in slow]


def test_every_byte_has_a_letter_of_its_own() -> None:
    from tokenizers.pre_tokenizers import ByteLevel

    assert len(set(byte_letters())) == 256
    assert set(byte_letters()) == set(ByteLevel.alphabet())


def test_special_tokens_follow_the_bytes_and_are_never_read_from_text() -> None:
    assert [TOKENIZER.backend.token_to_id(token) for token in OWN_SPECIALS] == [256, 257, 258, 259, 260]
    assert TOKENIZER.vocab_size == 261
    assert TOKENIZER.eos_id == 256
    assert TOKENIZER.pad_id == 257
    assert max(TOKENIZER.encode(["<|endoftext|>"])[0]) < 256
    assert TOKENIZER.encode_markup(["a<|endoftext|>"])[0].tolist() == [97, 256]


def test_saved_tokenizer_works_in_transformers(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    TOKENIZER.save(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    text = "naïve\t漢字 🙂\n"
    assert loaded(text)["input_ids"] == list(text.encode())
    assert loaded.decode(loaded(text)["input_ids"]) == text
    assert (loaded.eos_token_id, loaded.pad_token_id, len(loaded)) == (256, 257, 261)
    loaded.save_pretrained(tmp_path / "again")
    assert AutoTokenizer.from_pretrained(tmp_path / "again")(text)["input_ids"] == list(text.encode())
    assert np.array_equal(TOKENIZER.encode([""])[0], [])
