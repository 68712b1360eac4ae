"""Tokenizers from a folder of files, read with the `tokenizers` library alone."""

from __future__ import annotations

import json
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from darkit_nb.data.byte_tokenizer import byte_letters
from darkit_nb.data.tokenizer import TextTokenizer, TokenizerPlan
from darkit_nb.errors import DataError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_FILES = (
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
)
_ROLES = ("eos_token", "bos_token", "pad_token", "unk_token", "sep_token", "cls_token", "mask_token")
_BERT = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
# What families call the end of a text, for files that do not say it; BERT separates texts with [SEP].
ENDS_OF_TEXT = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "[SEP]")


def is_tokenizer_folder(folder: Path) -> bool:
    """Whether a folder holds files a tokenizer can be read from."""
    has = {name for name in _FILES if (folder / name).is_file()}
    return "tokenizer.json" in has or "vocab.txt" in has or {"vocab.json", "merges.txt"} <= has


def plan_folder(name: str, folder: Path, *, lowercase: bool | None = None) -> TokenizerPlan:
    """Plan of the tokenizer in a folder; see `load_folder`.

    Raises:
        DataError: the folder holds no tokenizer.
    """
    _require_files(folder)
    identity = blake2b(repr(lowercase).encode(), digest_size=16)
    for file in _FILES:
        if (folder / file).is_file():
            identity.update(file.encode() + b"\0" + (folder / file).read_bytes() + b"\0")
    return TokenizerPlan(
        f"files-1-{identity.hexdigest()}", lambda texts: load_folder(name, folder, lowercase=lowercase)
    )


def load_folder(name: str, folder: Path, *, lowercase: bool | None = None) -> TextTokenizer:
    """Tokenizer of a folder with `tokenizer.json`, `vocab.json` and `merges.txt` (GPT-2), or `vocab.txt` (BERT).

    Args:
        name: What the tokenizer is called in messages.
        folder: The folder.
        lowercase: Whether WordPiece lowers its text, where tokenizer_config.json does not say; None: as the vocabulary
            suggests.

    Raises:
        DataError: there are no such files, they are damaged, or no token ends a text.
    """
    _require_files(folder)
    try:
        config = _config(folder)
        specials = {role: text for role in _ROLES if (text := _text(config.get(role)))}
        backend = _backend(folder, config, specials, lowercase)
    except Exception as error:  # the tokenizers library raises bare Exception for files it cannot read
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"The tokenizer files in {str(folder)!r} cannot be read.",
            expected="files as save_pretrained of transformers writes them",
            received=f"{type(error).__name__}: {error}",
            cause="a damaged or half-copied file",
        ) from error
    complete_specials(specials, backend)
    return TextTokenizer(name, backend, specials=specials, chat_template=_template(folder, config))


def complete_specials(specials: dict[str, str], backend: Tokenizer) -> None:
    """Name the token that ends a text where the files do not."""
    if "eos_token" not in specials:
        end = next((token for token in ENDS_OF_TEXT if backend.token_to_id(token) is not None), None)
        if end is not None:
            specials["eos_token"] = end


def default_template(template: Any) -> str | None:
    """The template used for conversations, of the one or several that a tokenizer carries."""
    if isinstance(template, list):
        template = {entry["name"]: entry["template"] for entry in template}
    return template.get("default") if isinstance(template, dict) else template


def _require_files(folder: Path) -> None:
    if not is_tokenizer_folder(folder):
        present = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
        raise DataError(
            f"{str(folder)!r} holds no tokenizer.",
            expected="tokenizer.json, or vocab.json with merges.txt, or vocab.txt",
            received=", ".join(present[:10]) or "nothing",
        )


def _backend(folder: Path, config: dict[str, Any], specials: dict[str, str], lowercase: bool | None) -> Tokenizer:
    from tokenizers import AddedToken, Tokenizer

    if (folder / "tokenizer.json").is_file():
        return Tokenizer.from_file(str(folder / "tokenizer.json"))
    if (folder / "vocab.json").is_file():
        backend = _byte_level(folder)
    else:
        backend = _word_piece(folder, config.get("do_lower_case", lowercase))
        specials.update({role: token for role, token in _BERT.items() if role not in specials})
    known = [t for t in {*specials.values(), *ENDS_OF_TEXT} if backend.token_to_id(t) is not None]
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in sorted(known)])
    return backend


def _byte_level(folder: Path) -> Tokenizer:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    vocabulary = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    missing = [letter for letter in byte_letters() if letter not in vocabulary]
    if missing:
        raise DataError(
            f"The vocabulary in {str(folder)!r} is not that of a byte-level tokenizer.",
            expected="an entry for each of the 256 bytes, as in GPT-2's vocab.json",
            received=f"{len(missing)} of them missing",
            fix="put the tokenizer.json of this tokenizer into the folder",
        )
    backend = Tokenizer(models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt")))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return backend


def _word_piece(folder: Path, lowercase: bool | None) -> Tokenizer:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    model = models.WordPiece.from_file(str(folder / "vocab.txt"), unk_token=_BERT["unk_token"])
    backend = Tokenizer(model)
    if lowercase is None:
        words = [word for word in backend.get_vocab() if word.isascii() and word.isalpha()]
        # A vocabulary of cased text has thousands of capitalised words; a lowered one a few stray letters at most.
        lowercase = sum(word != word.lower() for word in words) < 0.01 * len(words)
    backend.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    return backend


def _config(folder: Path) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        if (folder / name).is_file():
            merged |= json.loads((folder / name).read_text(encoding="utf-8"))
    return merged


def _text(token: Any) -> str | None:
    return token.get("content") if isinstance(token, dict) else token


def _template(folder: Path, config: dict[str, Any]) -> str | None:
    file = folder / "chat_template.jinja"
    return file.read_text(encoding="utf-8") if file.is_file() else default_template(config.get("chat_template"))
