"""What the launcher asks of CuPy, written down: there is no GPU to ask."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from darkit_nb.ops import _cupy
from darkit_nb.ops._launch import kernel_source


class Refused(Exception):
    """The compiler's error."""


class FakeCupy:
    """A CuPy that writes down what it is asked, and compiles to what it was given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[Any] = []
        self.within: list[Any] = []
        self.refusal: str | None = None
        cuda = SimpleNamespace(
            Device=self.device,
            Stream=SimpleNamespace(from_external=self.external),
            nvrtc=SimpleNamespace(getVersion=lambda: (13, 0)),
        )
        compiler = SimpleNamespace(CompileException=Refused, compile_using_nvrtc=self.compile)
        monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(RawModule=self.module, cuda=cuda))
        monkeypatch.setitem(sys.modules, "cupy.cuda.compiler", compiler)

    @contextmanager
    def _inside(self, what: Any) -> Iterator[None]:
        self.within.append(what)
        yield
        self.within.remove(what)

    def device(self, index: int | None = None) -> Any:
        return SimpleNamespace(compute_capability="90") if index is None else self._inside(f"device {index}")

    def external(self, stream: Any) -> Any:
        version, handle = stream.__cuda_stream__()
        self.calls.append(("stream", version, handle))
        return _Reentrant(lambda: self._inside(f"stream {handle}"))

    def compile(self, source: str, options: tuple[str, ...], filename: str) -> tuple[bytes, None]:
        self.calls.append(("compile", options, filename, "gif_forward" in source))
        if self.refusal is not None:
            raise Refused(self.refusal)
        return source.encode(), None

    def module(self, path: str) -> Any:
        def get_function(name: str) -> Any:
            return lambda grid, block, arguments: self.calls.append((name, grid, block, arguments, [*self.within]))

        self.calls.append(("load", Path(path).read_text() == kernel_source("gif"), [*self.within]))
        return SimpleNamespace(get_function=get_function)


class _Reentrant:
    """A stream is entered at every launch."""

    def __init__(self, make: Any) -> None:
        self._make, self._open = make, []

    def __enter__(self) -> None:
        self._open.append(self._make())
        self._open[-1].__enter__()

    def __exit__(self, *error: object) -> None:
        self._open.pop().__exit__(*error)


def recording_cupy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeCupy]:
    """To be made a fixture: `FakeCupy` in the place of CuPy, on the first of torch's devices."""
    monkeypatch.setenv("CUPY_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: SimpleNamespace(cuda_stream=4711 + device))
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    yield FakeCupy(monkeypatch)
    for cached in (_cupy._function, _cupy._stream):
        cached.cache_clear()
