"""The tokenizer `bytes`: id = byte, special tokens from 256."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from darkit_nb.data.corpus import Request
from darkit_nb.data.tokenizer import (
    END_OF_TEXT,
    OWN_CHAT_TEMPLATE,
    OWN_SPECIALS,
    PAD,
    Ids,
    TextTokenizer,
    TokenizerPlan,
)


def plan_bytes(request: Request) -> TokenizerPlan:
    """Plan of the byte tokenizer."""
    return TokenizerPlan("bytes-1", lambda texts: ByteTokenizer(request.name))


class ByteTokenizer(TextTokenizer):
    """Byte-level BPE without a single merge, encoded with NumPy.

    The backend gives the same ids; it is what `save` writes, so that the tokenizer works in transformers.
    """

    def __init__(self, name: str = "bytes") -> None:
        from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

        letters = byte_letters()
        backend = Tokenizer(models.BPE(vocab={letter: byte for byte, letter in enumerate(letters)}, merges=[]))
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        backend.decoder = decoders.ByteLevel()
        backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in OWN_SPECIALS])
        super().__init__(
            name,
            backend,
            specials={"eos_token": END_OF_TEXT, "bos_token": END_OF_TEXT, "pad_token": PAD},
            chat_template=OWN_CHAT_TEMPLATE,
        )

    def encode(self, texts: Sequence[str]) -> list[Ids]:
        """The UTF-8 bytes of each text."""
        return [np.frombuffer(text.encode(), dtype=np.uint8).astype(np.uint32) for text in texts]


def byte_letters() -> list[str]:
    """The visible letter that byte-level tokenizers write for each byte, in the order of the bytes.

    Printable bytes of Latin-1 stand for themselves; the others take the letters from U+0100 on, in their order.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    letters, spare = [], 0x100
    for byte in range(256):
        letters.append(chr(byte if byte in printable else spare))
        spare += byte not in printable
    return letters
