"""A tokenizer as training needs it: text to arrays of ids, without importing transformers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from darkit_nb.data.corpus import DataSettings, Request, find_entry
from darkit_nb.errors import DataError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Ids = npt.NDArray[np.uint32]

# The special tokens of our own tokenizers, in the order of their ids.
END_OF_TEXT = "<|endoftext|>"
PAD = "<|pad|>"
ROLE_TOKENS = {"system": "<|system|>", "user": "<|user|>", "assistant": "<|assistant|>"}
OWN_SPECIALS = (END_OF_TEXT, PAD, *ROLE_TOKENS.values())

# A turn ends where the next begins, the assistant's with the end-of-text token, which is where generation stops.
# `generation` marks what transformers calls assistant tokens.
OWN_CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' }}"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + eos_token }}{% endgeneration %}"
    "{% else %}{{ message['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


class TextTokenizer:
    """A `tokenizers.Tokenizer` and what it says about itself.

    Attributes:
        name: The id the user wrote.
        backend: The tokenizer proper.
        eos_id: Id of the token that ends a document.
        pad_id: Id for padding; `eos_id` where there is none of its own.
        unknown_id: Id for text the vocabulary has no word for, or None where that cannot happen.
        vocab_size: One more than the largest id.
        chat_template: Jinja template of conversations, or None.
    """

    def __init__(
        self,
        name: str,
        backend: Tokenizer,
        *,
        specials: dict[str, str],
        chat_template: str | None = None,
    ) -> None:
        self.name = name
        self.backend = backend
        self.specials = specials
        self.chat_template = chat_template
        self.vocab_size = 1 + max(backend.get_vocab(with_added_tokens=True).values())
        self.eos_id = _eos_id(name, backend, specials.get("eos_token"))
        self.pad_id = self._special("pad_token", self.eos_id)
        # GPT-2 names its end-of-text token as the unknown one too, and never uses it so.
        known = specials.get("unk_token") in (None, specials["eos_token"])
        self.unknown_id = None if known else self._special("unk_token", None)

    def _special(self, role: str, otherwise: Any) -> Any:
        found = self.backend.token_to_id(self.specials[role]) if role in self.specials else None
        return otherwise if found is None else found

    def encode(self, texts: Sequence[str]) -> list[Ids]:
        """Ids of each text taken literally: `<|endoftext|>` written in a text is text, not the end of it."""
        return self._encode(texts, literal=True)

    def encode_markup(self, texts: Sequence[str]) -> list[Ids]:
        """Ids of each text with special tokens recognised, as chat templates write them."""
        return self._encode(texts, literal=False)

    def _encode(self, texts: Sequence[str], *, literal: bool) -> list[Ids]:
        self.backend.encode_special_tokens = literal
        encodings = self.backend.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.asarray(encoding.ids, dtype=np.uint32) for encoding in encodings]

    def decode(self, ids: Iterable[int]) -> str:
        """Text of ids, special tokens included."""
        return self.backend.decode([int(i) for i in ids], skip_special_tokens=False)

    def save(self, folder: Path) -> None:
        """Write the files that `AutoTokenizer.from_pretrained(folder)` reads."""
        folder.mkdir(parents=True, exist_ok=True)
        self.backend.save(str(folder / "tokenizer.json"))
        config: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
        config |= self.specials
        if self.chat_template is not None:
            config["chat_template"] = self.chat_template
        (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False))


@dataclass(frozen=True)
class TokenizerPlan:
    """A tokenizer before any text was read.

    Attributes:
        fingerprint: Changes whenever the ids it gives would; part of the cache key.
        build: Makes the tokenizer; receives a function that opens the training texts.
        trained: Whether `build` reads them, so that what it makes is worth keeping.
    """

    fingerprint: str
    build: Callable[[Callable[[], Iterator[str]]], TextTokenizer]
    trained: bool = False


def plan_tokenizer(settings: DataSettings) -> TokenizerPlan:
    """The tokenizer the settings name.

    Raises:
        DataError: it does not exist or cannot be used.
    """
    entry, argument = find_entry("tokenizer", settings.tokenizer)
    return entry.load()(Request(settings.tokenizer, argument, settings, entry.options))


def _eos_id(name: str, backend: Tokenizer, token: str | None) -> int:
    found = backend.token_to_id(token) if token else None
    if found is None:
        raise DataError(
            f"The tokenizer {name!r} has no end-of-text token, so documents could not be told apart.",
            expected="`eos_token` in its tokenizer_config.json, naming a token of its vocabulary",
            received="no eos_token" if not token else f"eos_token {token!r}, which is not in the vocabulary",
            fix='add a line such as "eos_token": "</s>" to tokenizer_config.json, or choose another tokenizer',
        )
    return found
