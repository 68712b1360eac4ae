"""Who can be asked for text and spikes: a run, and a conversion that has made its model."""

from __future__ import annotations

from darkit_nb.records.bundled import bundled_models
from darkit_nb.runs.conversion import Conversion
from darkit_nb.runs.requests import Request
from darkit_nb.runs.run import Run
from darkit_nb.runs.workers import is_conversion

Asked = Run | Conversion


def asked_of(request: Request) -> Asked:
    """Who was asked."""
    root = request.run.root
    return Conversion(root) if is_conversion(root) else Run(root)


def reads_code(asked: Asked) -> bool:
    """Whether its model was trained on Python, so that examples for it are code."""
    if isinstance(asked, Conversion):
        request = asked.request
        return request.source in bundled_models() or request.dataset == "stdlib"
    return asked.config.data.dataset == "stdlib"
