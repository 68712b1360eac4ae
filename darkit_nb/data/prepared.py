"""What training receives: token windows, and the tokenizer that made them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from darkit_nb.data.packing import SplitFacts
from darkit_nb.data.streaming import StreamingWindows
from darkit_nb.data.windows import TokenWindows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from darkit_nb.data.preview import DataPreview


@dataclass(frozen=True)
class TokenizerFacts:
    """What a model has to know about a tokenizer.

    Attributes:
        name: The id the user wrote.
        vocab_size: One more than the largest id.
        eos_id: Id that ends a document.
        pad_id: Id for padding; the end-of-text id where the tokenizer has none of its own.
        folder: Holds tokenizer.json and tokenizer_config.json.
    """

    name: str
    vocab_size: int
    eos_id: int
    pad_id: int
    folder: Path


@dataclass(frozen=True)
class PreparedData:
    """A corpus, split, tokenized and packed.

    Attributes:
        dataset: Id of the dataset.
        train: Windows to learn from.
        validation: Windows to measure on; no document of theirs occurs in `train`.
        tokenizer: Facts about the tokenizer.
        cache_key: Name of the entry in the token cache.
        train_facts: Counts over the training split; None: it is streamed, and nobody has counted.
        validation_facts: Counts over the validation split.
        duplicates_removed: Training documents left out because validation holds the very same one.
    """

    dataset: str
    train: TokenWindows | StreamingWindows
    validation: TokenWindows
    tokenizer: TokenizerFacts
    cache_key: str
    train_facts: SplitFacts | None
    validation_facts: SplitFacts
    duplicates_removed: int = 0

    @property
    def tokenizer_id(self) -> str:
        """Id of the tokenizer, as configured."""
        return self.tokenizer.name

    @property
    def vocab_size(self) -> int:
        """Rows the embedding of a model needs."""
        return self.tokenizer.vocab_size

    @property
    def eos_id(self) -> int:
        """Id that ends a document."""
        return self.tokenizer.eos_id

    @property
    def bytes_per_token(self) -> float:
        """UTF-8 bytes of validation text per predicted token; loss / ln 2 / this is bits per byte."""
        return self.validation_facts.bytes_per_token

    def load_tokenizer(self) -> PreTrainedTokenizerFast:
        """The tokenizer for transformers: `save_pretrained`, `decode`, chat template. Imports transformers."""
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self.tokenizer.folder)

    def preview(self, count: int = 3) -> DataPreview:
        """A first look: counts, the lengths of documents, and `count` windows as text."""
        from darkit_nb.data.preview import preview

        return preview(self, count)


def load_split(folder: Path, name: str, seq_len: int) -> TokenWindows:
    """Memory-mapped windows of one split in a cache entry."""
    tokens: Any = np.load(folder / f"{name}.npy", mmap_mode="r")
    mask = folder / f"{name}.learnt.npy"
    return TokenWindows(tokens, seq_len, np.load(mask, mmap_mode="r") if mask.exists() else None)
