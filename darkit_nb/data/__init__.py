"""Corpora, tokenizers and packed token windows. Needs neither torch, transformers nor `datasets` to be imported."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from darkit_nb.data.corpus import Corpus as Corpus
    from darkit_nb.data.corpus import DataSettings as DataSettings
    from darkit_nb.data.corpus import Document as Document
    from darkit_nb.data.corpus import Request as Request
    from darkit_nb.data.preparation import prepare as prepare
    from darkit_nb.data.prepared import PreparedData as PreparedData
    from darkit_nb.data.preview import DataPreview as DataPreview
    from darkit_nb.data.streaming import StreamingWindows as StreamingWindows
    from darkit_nb.data.windows import TokenWindows as TokenWindows

_EXPORTS = {
    "Corpus": "corpus",
    "DataPreview": "preview",
    "DataSettings": "corpus",
    "Document": "corpus",
    "PreparedData": "prepared",
    "Request": "corpus",
    "StreamingWindows": "streaming",
    "TokenWindows": "windows",
    "prepare": "preparation",
}

__all__ = [
    "Corpus",
    "DataPreview",
    "DataSettings",
    "Document",
    "PreparedData",
    "Request",
    "StreamingWindows",
    "TokenWindows",
    "prepare",
]


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_EXPORTS[name]}"), name)
    globals()[name] = value
    return value
