"""Our tree and drawing beside torchview and torchvista: the same models, interleaved, until a browser shows them.

torchvista is no dependency of ours. It goes into a folder of its own, which is thrown away afterwards,
without the package `tests` that its wheel brings along and that would stand before ours:

    viewers=$(mktemp -d); pip install --no-deps --target $viewers torchvista; rm -r $viewers/tests
    PYTHONPATH=$viewers python -m benchmarks tree_viewers

Seconds are from the call to the moment when Chromium shows the page, as a person waits for it: `view` is what a viewer
shows first, `all` is everything it found, unfolded. torchview opens one level there and rolls loops, torchvista has its
default settings. A viewer that takes longer than `LIMIT_S` is stopped and the row says so; one slower than `SLOW_S`
runs once.
"""

from __future__ import annotations

import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

from playwright.sync_api import Error, Page, sync_playwright
from torch import nn
from torchview import draw_graph

from benchmarks.harness import spread
from benchmarks.viewer_models import models
from darkit_nb.errors import ModelError
from darkit_nb.trace import trace_flow, trace_model
from darkit_nb.views.flow_svg import flow_svg
from darkit_nb.views.tree_html import tree_html

LIMIT_S = 120
SLOW_S = 15
ROUNDS = 5
LEVELS = {"GPT": "h.0", "ResNet": "layers.1.0", "LLaMA": "model.layers.0"}
"""The level that our dataflow shows, by the beginning of a model's name; torchview and torchvista draw all at once."""

Draw = Callable[[nn.Module, Any, Path], None]


@dataclass(frozen=True)
class Viewer:
    """Someone who draws a model into a file.

    Attributes:
        draw: gets the model, its argument and the file.
        shown: CSS selector of one box or row in the page.
        ending: of the file.
    """

    draw: Draw
    shown: str
    ending: str = "html"


def ours(*, everything: bool) -> Draw:
    """The static tree."""

    def draw(model: nn.Module, x: Any, file: Path) -> None:
        levels = {"fold": False, "open_depth": 99} if everything else {}
        file.write_text(f'<!doctype html><meta charset="utf-8">{tree_html(trace_model(model, x), **levels)}')

    return draw


def our_level(path: str) -> Draw:
    """The dataflow of one level."""

    def draw(model: nn.Module, x: Any, file: Path) -> None:
        file.write_text(f'<!doctype html><meta charset="utf-8">{flow_svg(trace_flow(model, x, path))}')

    return draw


def torchview(*, everything: bool) -> Draw:
    """A drawing by Graphviz."""

    def draw(model: nn.Module, x: Any, file: Path) -> None:
        depth = 99 if everything else 1
        graph = draw_graph(model, (x,), depth=depth, roll=True, expand_nested=True, device=str(x.device), mode="eval")
        file.write_bytes(graph.visual_graph.pipe(format="svg"))

    return draw


def torchvista(*, everything: bool) -> Draw:
    """A page that lays itself out."""

    def draw(model: nn.Module, x: Any, file: Path) -> None:
        from torchvista import trace_model as draw_model  # pyright: ignore[reportMissingImports]

        depth = 99 if everything else 1
        with redirect_stdout(StringIO()):
            draw_model(model, (x,), collapse_modules_after_depth=depth, export_path=str(file))

    return draw


def viewers(name: str) -> dict[str, Viewer]:
    """Everyone who draws the model of that name."""
    row, box, node = ".dk-tree summary, .dk-tree .leaf:not(.h)", "g[data-path]", 'g[class^="node_"]'
    level = next(path for start, path in LEVELS.items() if name.startswith(start))
    return {
        "ours, view": Viewer(ours(everything=False), row),
        "torchview, view": Viewer(torchview(everything=False), "g.node", "svg"),
        "torchvista, view": Viewer(torchvista(everything=False), node),
        "ours, dataflow of one block": Viewer(our_level(level), box),
        "ours, all": Viewer(ours(everything=True), row),
        "torchview, all": Viewer(torchview(everything=True), "g.node", "svg"),
        "torchvista, all": Viewer(torchvista(everything=True), node),
    }


def run(quick: bool) -> Iterator[dict[str, Any]]:
    """One row a model."""
    if find_spec("torchvista") is None and not quick:
        raise ModelError(
            "torchvista is not installed, and this benchmark compares with it.",
            expected="torchvista where Python finds it",
            received="none",
            fix="as the head of benchmarks/tree_viewers.py says",
        )
    versions = {name: version(name) for name in ("torchview", "torchvista") if find_spec(name)}
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        # not through tests.browser: torchvista's wheel brings a package called tests along
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        try:
            for name, make in models().items():
                if quick and not name.startswith("ResNet-18 shape that"):
                    continue
                present = {
                    who: each for who, each in viewers(name).items() if who.partition(",")[0] in {"ours", *versions}
                }
                found = _compared(present, make, page, Path(folder), 1 if quick else ROUNDS)
                yield {"model": name, "versions": versions, "rounds": 1 if quick else ROUNDS, "viewers": found}
        finally:
            browser.close()


def _compared(
    rivals: Mapping[str, Viewer], make: Callable[[], tuple[nn.Module, Any]], page: Page, folder: Path, rounds: int
) -> dict[str, Any]:
    """Every viewer in every round, in an order that rotates; one that was stopped or is slow does not run again."""
    seen: dict[str, list[dict[str, Any]]] = {name: [] for name in rivals}
    names = list(rivals)
    for turn in range(rounds + 1):  # the first is to warm up
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            if not any("stopped" in each or each.get("seconds", 0) > SLOW_S for each in seen[name]):
                seen[name].append(_drawn(rivals[name], make, page, folder / f"drawing.{rivals[name].ending}"))
    return {name: _summed(each[1:] or each) for name, each in seen.items()}


def _drawn(viewer: Viewer, make: Callable[[], tuple[nn.Module, Any]], page: Page, file: Path) -> dict[str, Any]:
    """One drawing: seconds of Python and in all, boxes that are visible, bytes, and what went wrong."""
    file.unlink(missing_ok=True)
    model, x = make()
    page.goto("about:blank")
    told: dict[str, Any] = {}
    start = time.perf_counter()
    try:
        with _limited():
            viewer.draw(model, x, file)
    except TimeoutError:
        return {"stopped": f"in Python after {LIMIT_S} s"}
    except Exception as error:  # noqa: BLE001 - a viewer that raises is a finding
        told["raised"] = f"{type(error).__name__}: {str(error).strip().splitlines()[0][:160]}"
    told["python_seconds"] = time.perf_counter() - start
    if not file.is_file():
        return told | {"drawn": 0}
    told["bytes"] = file.stat().st_size
    try:
        page.goto(file.as_uri(), timeout=1000 * LIMIT_S)
        page.wait_for_selector(viewer.shown, state="attached", timeout=1000 * LIMIT_S)
    except Error as error:
        return told | {"stopped": f"in the browser: {str(error).splitlines()[0][:120]}"}
    told["seconds"] = time.perf_counter() - start
    told["drawn"] = page.evaluate(
        "(css) => [...document.querySelectorAll(css)].filter((each) => each.checkVisibility()).length", viewer.shown
    )
    return told


def _summed(each: list[dict[str, Any]]) -> dict[str, Any]:
    last = each[-1]
    timed = {key: spread([one[key] for one in each]) for key in ("seconds", "python_seconds") if key in last}
    return {key: last[key] for key in ("drawn", "bytes", "raised", "stopped") if key in last} | timed


@contextmanager
def _limited() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(LIMIT_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
