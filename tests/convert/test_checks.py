"""What has to hold before a conversion begins."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from darkit_nb.config.conversions import preset
from darkit_nb.convert import convert_model
from darkit_nb.errors import DataError
from tests.convert.decoders import decoder

IDS = torch.randint(2, 97, (6, 20), generator=torch.Generator().manual_seed(1))


def test_more_activations_than_memory_are_refused_before_any_work(tmp_path, monkeypatch: pytest.MonkeyPatch):
    model, spec = decoder("llama", dtype=torch.float32), preset("rtn", samples=6, sample_length=20)
    streams = 2 * 6 * 20 * model.config.hidden_size * 4

    def memory(total: int) -> None:
        monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(total=total))
        monkeypatch.setattr("psutil.swap_memory", lambda: SimpleNamespace(total=0))

    memory(streams - 1)
    with pytest.raises(DataError, match="do not fit into memory") as caught:
        convert_model(model, spec, calibration=IDS, out=tmp_path / "out")
    assert "6 × 20 tokens" in str(caught.value.received)
    assert "samples=" in str(caught.value.fix)
    assert not list(tmp_path.iterdir())
    memory(streams)
    convert_model(model, spec, calibration=IDS, out=tmp_path / "out")
