"""Files of a conversion: the format of safetensors, written tensor by tensor."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file

from darkit_nb.convert.writing import write_tensors


def test_every_kind_of_tensor_comes_back(tmp_path: Path):
    wide = torch.randn(6, 5, dtype=torch.float64)
    given = {
        "b.codes": torch.arange(7, dtype=torch.uint8),
        "a.strided": wide.t(),
        "a.part": wide[1:3],
        "number": torch.tensor(3, dtype=torch.int64),
        "nothing": torch.zeros(0, 4),
        "mask": torch.tensor([True, False, True]),
        **{str(dtype): torch.tensor([1, 2, 3]).to(dtype) for dtype in (
            torch.float16, torch.bfloat16, torch.float32, torch.int8, torch.int16, torch.int32
        )},
    }  # fmt: skip
    size = write_tensors(tmp_path / "some.safetensors", given)
    assert size == (tmp_path / "some.safetensors").stat().st_size
    found = load_file(tmp_path / "some.safetensors")
    assert found.keys() == given.keys()
    assert all(torch.equal(found[name], value) and found[name].dtype == value.dtype for name, value in given.items())
    with safe_open(tmp_path / "some.safetensors", "pt") as opened:
        assert opened.metadata() == {"format": "pt"}


def test_no_tensor_exists_twice_in_memory(tmp_path: Path):
    tensors = {str(index): torch.ones(1 << 18) for index in range(8)}
    tracemalloc.start()
    try:
        size = write_tensors(tmp_path / "large.safetensors", tensors)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size > 8 << 20
    assert most < 1 << 20
