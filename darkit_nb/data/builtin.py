"""The datasets and tokenizers that ship with the package, registered as a third party would register theirs."""

from __future__ import annotations

from darkit_nb.plugins import Entry, Registry


def register_datasets(registry: Registry) -> None:
    """Register the built-in datasets."""
    registry.add(
        Entry(
            "stdlib",
            "The Python standard library's own source and docstrings; on every machine, split by file.",
            "darkit_nb.data.stdlib_source:open_stdlib",
        )
    )
    registry.add(
        Entry(
            "text",
            "A UTF-8 text file or a folder of them, plain, .xz or .gz.",
            "darkit_nb.data.text_source:open_text",
            {"argument": "path"},
        )
    )


def register_tokenizers(registry: Registry) -> None:
    """Register the built-in tokenizers."""
    registry.add(
        Entry(
            "bytes",
            "Every byte of the UTF-8 text is a token; no file, no training, nothing unknown.",
            "darkit_nb.data.byte_tokenizer:plan_bytes",
        )
    )
