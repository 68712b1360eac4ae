"""What the model tree costs: a large shape opened without weights, and 20 000 rows in the browser.

`seconds` of a shape are those of its trace and of the widget with its data ready to be sent. In the browser a time is
from an action to the first frame that shows what it did, in JupyterLab with Chromium; `processor_ms` is that of the
page's main thread alone.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from playwright.sync_api import expect, sync_playwright

from benchmarks.harness import spread
from darkit_nb.models.build import build_model
from darkit_nb.records.trace import ModelTrace
from darkit_nb.spikify import spikify
from darkit_nb.trace import trace_model
from darkit_nb.widgets import ModelTree
from tests.browser.lab import Lab, launch
from tests.browser.notebook import Notebook
from tests.browser.test_model_tree import LARGE
from tests.browser.tree_times import measured
from tests.records.traces import large_trace

SHAPES: dict[str, dict[str, int]] = {
    "LLaMA-7B": {},
    "LLaMA-2-70B": {
        "hidden_size": 8192,
        "num_hidden_layers": 80,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
        "intermediate_size": 28672,
    },
}
TOKENS = 2048
ROWS = 20_000
AIMS = {"seconds": 5, "payload_bytes": 400_000, "expand_ms": 100, "key_ms": 50}


def run(quick: bool) -> Iterator[dict[str, Any]]:
    """One row a shape, one of the browser."""
    rounds = 1 if quick else 5
    for name, fields in SHAPES.items():
        for spiking in (False, True):
            if not quick or not spiking:
                yield _opened(name, fields, rounds, spiking=spiking)
    yield _browsed(1_000 if quick else ROWS, 2 if quick else 10)


def _opened(name: str, fields: dict[str, int], rounds: int, *, spiking: bool) -> dict[str, Any]:
    with torch.device("meta"):
        model: Any = build_model("spike-llama-7b", overrides=fields)
    model = spikify(model) if spiking else model
    ids = torch.zeros(1, TOKENS, dtype=torch.long)
    first, trace, payload = _once(model, ids)
    assert trace.problem is None, trace.problem
    assert trace.root.parameters == sum(each.numel() for each in model.parameters())
    traced, shown = zip(*(_once(model, ids)[0] for _ in range(rounds)), strict=True)
    return {
        "operation": "open",
        "shape": f"{name}, {TOKENS} tokens, {'spiking' if spiking else 'float'}, meta device",
        "parameters": trace.root.parameters,
        "rows": len(trace.nodes),
        "rounds": rounds,
        "seconds": {"trace": spread(list(traced)), "trace and widget": spread(list(shown))},
        "first_seconds": round(first[1], 3),
        "payload_bytes": payload,
        "aims": {key: AIMS[key] for key in ("seconds", "payload_bytes")},
    }


def _once(model: Any, ids: torch.Tensor) -> tuple[tuple[float, float], ModelTrace, int]:
    """Seconds until the trace and until the widget stand, the trace, and bytes of the widget's data."""
    start = time.perf_counter()
    trace = trace_model(model, ids)
    traced = time.perf_counter() - start
    tree = ModelTree(trace)
    shown, payload = time.perf_counter() - start, len(tree.tree)
    tree.close()
    return (traced, shown), trace, payload


def _browsed(rows: int, rounds: int) -> dict[str, Any]:
    """Milliseconds of what a person does with a tree of `rows` rows."""
    with tempfile.TemporaryDirectory() as home, sync_playwright() as playwright:
        lab = Lab(Path(home))
        lab.start()
        browser = launch(playwright)
        try:
            notebook = Notebook(lab, browser.new_context(viewport={"width": 1280, "height": 900}), name="tree.ipynb")
            (notebook.folder / "large.json").write_text(large_trace(rows).to_json())
            output = notebook.run(LARGE)
            expect(output.locator(".mt-row").nth(1)).to_be_visible()
            found = [measured(notebook, output, rows) for _ in range(rounds)]
        finally:
            browser.close()
            lab.close()
    seen = {kind: [each for times in found for each in times[kind].seen_ms] for kind in found[0]}
    busy = {kind: [each for times in found for each in times[kind].busy_ms] for kind in found[0]}
    return {
        "operation": "browse",
        "rows": rows,
        "rounds": rounds,
        "ms": {kind: spread(each) for kind, each in seen.items()},
        "worst_ms": {kind: round(max(each), 1) for kind, each in seen.items()},
        "processor_ms": {kind: spread(each) for kind, each in busy.items()},
        "aims": {key: AIMS[key] for key in ("expand_ms", "key_ms")},
    }
