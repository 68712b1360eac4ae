"""The datasets and tokenizers that ship with the package, registered as a third party would register theirs."""

from __future__ import annotations

from darkit_nb.plugins import Entry, Registry

_ANY_ID = {"argument": "org/name"}


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
            "UTF-8 text: a file, a folder or a pattern; plain, .xz or .gz.",
            "darkit_nb.data.text_source:open_text",
            {"argument": "path"},
        )
    )
    loader = "darkit_nb.data.hub_source:open_hub"
    registry.add(Entry("hub", "Any dataset of the Hugging Face hub with a text or messages column.", loader, _ANY_ID))
    for size in (2, 103):
        for suffix, kind in (("", "word-level, rare words as <unk>"), ("-raw", "raw text")):
            options = {"hub_id": "Salesforce/wikitext", "subset": f"wikitext-{size}{suffix}-v1", "articles": True}
            registry.add(Entry(f"wikitext-{size}{suffix}", f"WikiText-{size}, {kind}.", loader, options))
    registry.add(
        Entry(
            "wikipedia",
            "Wikipedia, English unless data.subset says otherwise.",
            loader,
            {"hub_id": "wikimedia/wikipedia", "subset": "20231101.en", "text_column": "text"},
        )
    )
    registry.add(
        Entry(
            "ultrachat_200k",
            "Conversations; only the assistant's turns are learnt.",
            loader,
            {
                "hub_id": "HuggingFaceH4/ultrachat_200k",
                "text_column": "messages",
                "train": "train_sft",
                "validation": "test_sft",
            },
        )
    )
    registry.add(
        Entry(
            "fineweb",
            "Filtered web text, the sample of 10 billion tokens unless data.subset says otherwise; best streamed.",
            loader,
            {"hub_id": "HuggingFaceFW/fineweb", "subset": "sample-10BT", "text_column": "text"},
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
    registry.add(
        Entry(
            "bpe",
            "Byte-level BPE with this many ids, trained on the training split.",
            "darkit_nb.data.bpe_tokenizer:plan_bpe",
            {"argument": "size"},
        )
    )
    loader = "darkit_nb.data.hub_tokenizer:plan_hub_tokenizer"
    registry.add(Entry("hub", "Any tokenizer of the Hugging Face hub, or a folder.", loader, _ANY_ID))
    for name in ("gpt2", "gpt2-medium", "gpt2-large"):
        registry.add(Entry(name, "GPT-2's byte-level BPE, 50 257 ids.", loader, {"hub_id": name}))
    for name, about in (
        ("bert-base-cased", "English WordPiece, 28 996 ids."),
        ("bert-base-chinese", "Chinese, 21 128."),
    ):
        registry.add(Entry(name, about, loader, {"hub_id": name, "lowercase": False}))
