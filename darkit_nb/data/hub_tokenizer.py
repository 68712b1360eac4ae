"""Tokenizers by hub id or folder: a path, the mirror, then `AutoTokenizer`."""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

from darkit_nb.data.corpus import Request
from darkit_nb.data.mirror import absent, check_id, find_mirrored, hub_reachable
from darkit_nb.data.tokenizer import TextTokenizer, TokenizerPlan
from darkit_nb.data.tokenizer_files import complete_specials, default_template, is_tokenizer_folder, plan_folder
from darkit_nb.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_ROLES = ("eos_token", "bos_token", "pad_token", "unk_token")


def plan_hub_tokenizer(request: Request) -> TokenizerPlan:
    """Plan of a tokenizer that others made.

    Raises:
        DataError: a malformed id, or a tokenizer that is neither here nor to be had.
    """
    name = request.options.get("hub_id", request.argument)
    lowercase = request.options.get("lowercase")
    folder = Path(request.argument).expanduser() if request.argument else None
    if folder is not None and (is_tokenizer_folder(folder) or folder.is_absolute()):
        return plan_folder(request.name, folder)
    check_id("tokenizer", name)
    mirrored = find_mirrored("tokenizer", name)
    if mirrored is not None:
        return plan_folder(request.name, mirrored, lowercase=lowercase)
    tokenizer = HubTokenizer(request.name, _download(name))
    return TokenizerPlan(tokenizer.fingerprint, lambda texts: tokenizer)


class HubTokenizer(TextTokenizer):
    """A tokenizer of transformers, encoded through its backend and saved as its own class writes it."""

    def __init__(self, name: str, original: PreTrainedTokenizerFast) -> None:
        specials = {role: str(token) for role in _ROLES if (token := getattr(original, role, None))}
        complete_specials(specials, original.backend_tokenizer)
        if "eos_token" in specials:
            original.eos_token = specials["eos_token"]
        super().__init__(
            name,
            original.backend_tokenizer,
            specials=specials,
            chat_template=default_template(original.chat_template),
        )
        self._original = original
        content = f"{self.backend.to_str()} {sorted(specials.items())} {self.chat_template}"
        self.fingerprint = f"hub-1-{blake2b(content.encode(), digest_size=16).hexdigest()}"

    def save(self, folder: Path) -> None:
        """Write the files of the original class."""
        self._original.save_pretrained(folder)


def _download(name: str) -> PreTrainedTokenizerFast:
    from transformers import AutoTokenizer

    try:
        # Without a network the client would ask again and again for most of a minute.
        found = AutoTokenizer.from_pretrained(name, local_files_only=not hub_reachable())
    except Exception as error:  # the loader raises OSError, ValueError, ImportError, … by what is missing
        where = f"tokenizers/{name}"
        call = f"from transformers import AutoTokenizer as A; A.from_pretrained('{name}').save_pretrained('{where}')"
        raise absent("tokenizer", name, where, f'python -c "{call}"', error) from error
    if not found.is_fast:
        raise DataError(
            f"The tokenizer {name!r} exists only in the slow form.",
            expected="a tokenizer with a tokenizer.json, or one that transformers can convert to it",
            received=type(found).__name__,
        )
    return found
