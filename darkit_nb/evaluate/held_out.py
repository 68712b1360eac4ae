"""Text that is scored: a file, or the validation documents of a dataset, joined by empty lines."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import torch
from torch import Tensor

from darkit_nb.config import DataConfig
from darkit_nb.data.corpus import Corpus, Document, open_corpus
from darkit_nb.data.protocols import WINDOW, Protocol, protocol_text
from darkit_nb.data.split import split_corpus
from darkit_nb.data.tokenizer_files import load_folder
from darkit_nb.errors import DataError


@dataclass(frozen=True, eq=False)
class HeldOutText:
    """Tokens of a text.

    Attributes:
        name: file name, or the dataset and its split.
        ids: int64 `[N]`.
        num_bytes: length of the text in UTF-8.
        sha256: of its bytes; of its tokens where windows were drawn from documents.
        vocab_size: of the tokenizer.
    """

    name: str
    ids: Tensor
    num_bytes: int
    sha256: str
    vocab_size: int

    @property
    def bytes_per_token(self) -> float:
        """Bytes of text a token stands for."""
        return self.num_bytes / max(1, len(self.ids))


def held_out_text(folder: Path, settings: DataConfig, text: str | Path | None = None) -> HeldOutText:
    """Read and tokenise, the whole text at once, with the tokenizer in `folder`.

    Args:
        folder: of a model with its tokenizer.
        settings: name the dataset, whose validation documents are taken.
        text: a UTF-8 text file, or a folder of them, in place of the dataset; may be compressed with xz or gzip.

    Raises:
        DataError: the text cannot be read, holds nothing or conversations; or there is no tokenizer.
    """
    if text is not None:
        corpus = open_corpus(settings.model_copy(update={"dataset": f"text:{text}", "streaming": False}))
        name, content = Path(text).name, _joined(corpus, list(corpus.train()))
    else:
        corpus = open_corpus(settings.model_copy(update={"streaming": False}))
        split = split_corpus(corpus, settings.validation_fraction, settings.split_seed)
        name, content = f"{settings.dataset}, validation", _joined(corpus, list(split.validation()))
    tokenizer = load_folder(folder.name, folder)
    ids = torch.from_numpy(tokenizer.encode([content])[0].astype("int64"))
    data = content.encode()
    return HeldOutText(name, ids, len(data), sha256(data).hexdigest(), tokenizer.vocab_size)


def published_text(folder: Path, protocol: Protocol, window: int) -> HeldOutText:
    """The windows of a published protocol, one behind the other, in the tokens of the tokenizer in `folder`.

    Special tokens are those the tokenizer puts by itself: for Llama's one at the very start, as in the tables.

    Raises:
        DataError: no such protocol, or its text is not here.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    found = protocol_text(protocol, lambda text: tokenizer(text).input_ids, window=window)
    ids = torch.from_numpy(found.windows.reshape(-1))
    digest = sha256(found.windows.tobytes()).hexdigest()
    size = round(found.bytes_per_token * len(ids))
    return HeldOutText(f"{protocol}, published protocol", ids, size, digest, len(tokenizer))


def usual_window(config: object) -> int:
    """The protocol's window, or the model's context where that is shorter."""
    return min(WINDOW, getattr(config, "max_position_embeddings", None) or WINDOW)


def _joined(corpus: Corpus, documents: list[Document]) -> str:
    if any(document.messages for document in documents):
        raise DataError(
            f"{corpus.name!r} holds conversations, which this protocol does not score.",
            expected="plain text",
            received="documents with turns",
            fix="score a text dataset, such as wikitext-2",
        )
    content = "\n\n".join(document.text for document in documents)
    if not content:
        raise DataError(f"{corpus.name!r} holds no text to score.", expected="text", received="nothing")
    return content
