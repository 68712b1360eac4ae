"""The tokenizer `bpe:<size>`: byte-level BPE trained on the training split."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from darkit_nb.data.corpus import Request
from darkit_nb.data.pieces import PIECE_CHARS, split_text
from darkit_nb.data.tokenizer import END_OF_TEXT, OWN_CHAT_TEMPLATE, OWN_SPECIALS, PAD, TextTokenizer, TokenizerPlan
from darkit_nb.errors import DataError

SMALLEST, LARGEST = 256 + len(OWN_SPECIALS), 1 << 20
_TRAINING_PIECES = (1 << 28) // PIECE_CHARS  # merges are settled long before 268 million characters


def plan_bpe(request: Request) -> TokenizerPlan:
    """Plan of a tokenizer with at most `size` ids: special tokens, the 256 bytes, and merges.

    Raises:
        DataError: the size is not a number, or too small to hold the bytes.
    """
    try:
        size = int(request.argument)
    except ValueError:
        size = 0
    if not SMALLEST <= size <= LARGEST:
        raise DataError(
            f"{request.name!r} names no tokenizer that can be trained.",
            expected=f"bpe:<size>, from {SMALLEST} ({len(OWN_SPECIALS)} special tokens and 256 bytes) to {LARGEST} ids",
            received=repr(request.argument),
            fix="try bpe:2048, or tokenizer=bytes for no merges at all",
        )
    from tokenizers import __version__

    return TokenizerPlan(
        f"bpe-1-{size}-{__version__}", lambda texts: train_bpe(request.name, size, texts()), trained=True
    )


def train_bpe(name: str, size: int, texts: Iterator[str]) -> TextTokenizer:
    """Train on at most 2^28 characters; equal texts in equal order give equal files."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=2,
        special_tokens=list(OWN_SPECIALS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    pieces = (piece for text in texts for piece in split_text(text))
    backend.train_from_iterator(islice(pieces, _TRAINING_PIECES), trainer)
    specials = {"eos_token": END_OF_TEXT, "bos_token": END_OF_TEXT, "pad_token": PAD}
    return TextTokenizer(name, backend, specials=specials, chat_template=OWN_CHAT_TEMPLATE)
