"""Statistics are sums and extremes: the same from one pass, from shards, and from several processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from darkit_nb.convert.statistics import FeatureStatistics, watching
from darkit_nb.errors import DataError
from darkit_nb.spikify import load_model
from tests.convert.decoders import decoder


def gathered(x: torch.Tensor, **options) -> FeatureStatistics:
    statistics = FeatureStatistics(x.shape[-1], **options)
    for part in x.split(3):
        statistics.update(part)
    return statistics


def test_they_are_what_the_tokens_say():
    x = torch.randn(7, 5, 12, dtype=torch.float64)
    statistics, flat = gathered(x, gram_width=12), x.flatten(0, 1)
    assert statistics.count == 35
    torch.testing.assert_close(statistics.absmax, flat.abs().amax(0))
    torch.testing.assert_close(statistics.mean, flat.mean(0))
    torch.testing.assert_close(statistics.square, flat.square().sum(0))
    torch.testing.assert_close(statistics.matrix, flat.T @ flat / 35)


def test_grams_of_neighbouring_features():
    x = torch.randn(4, 6, 12, dtype=torch.float64)
    statistics, flat = gathered(x, gram_width=4), x.flatten(0, 1)
    assert statistics.gram is not None
    for block in range(3):
        part = flat[:, 4 * block : 4 * block + 4]
        torch.testing.assert_close(statistics.gram[block], part.T @ part)
    with pytest.raises(ValueError, match="whole width"):
        _ = statistics.matrix


def test_dividing_features_divides_what_is_known_of_them():
    x, scale = torch.randn(6, 5, 8, dtype=torch.float64), torch.rand(8, dtype=torch.float64) + 0.5
    found, expected = gathered(x, gram_width=4), gathered(x / scale, gram_width=4)
    found.divide(scale)
    for name in ("low", "high", "total", "square", "gram"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name))


def test_a_value_that_is_not_finite_is_counted():
    x = torch.randn(3, 8)
    x[1, 2] = torch.nan
    with pytest.raises(DataError) as caught:
        gathered(x)
    assert "1 of 8" in str(caught.value.received)


def test_watching_sees_inputs_and_leaves_no_hook():
    layer, seen = nn.Linear(4, 2), []
    with watching({"a": layer}, lambda name, x: seen.append((name, x.shape))):
        layer(torch.randn(3, 4))
    layer(torch.randn(5, 4))
    assert seen == [("a", torch.Size([3, 4]))]


_PROCESS = """
import sys, torch
from darkit_nb.config.conversions import preset
from darkit_nb.convert import convert_model
from darkit_nb.convert.statistics import FeatureStatistics
rank, folder = int(sys.argv[1]), sys.argv[2]
torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
x = torch.randn(6, 5, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
found, whole = FeatureStatistics(8, gram_width=8), FeatureStatistics(8, gram_width=8)
found.update(x[rank::2])
whole.update(x)
found.reduce()
assert found.count == 30
for name in ("low", "high", "total", "square", "matrix"):
    torch.testing.assert_close(getattr(found, name), getattr(whole, name))
ids = torch.randint(2, 97, (6, 20), generator=torch.Generator().manual_seed(1))
spec = preset("darkit", bits="W8A8", samples=6, sample_length=20)
report = convert_model(f"{folder}/float", spec, calibration=ids, out=f"{folder}/out")
assert len(report.blocks) == 3
"""


def test_two_processes_share_the_samples(tmp_path: Path):
    model = decoder("llama", dtype=torch.float32)
    model.save_pretrained(tmp_path / "float")
    processes = [
        subprocess.Popen([sys.executable, "-c", _PROCESS, str(rank), str(tmp_path)], stderr=subprocess.PIPE)
        for rank in range(2)
    ]
    for process in processes:
        _, complaint = process.communicate(timeout=400)
        assert process.returncode == 0, complaint.decode()[-2000:]
    ids = torch.randint(2, 97, (3, 20), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        expected = model(input_ids=ids).logits
        found = load_model(tmp_path / "out")(input_ids=ids).logits
    assert (found - expected).norm() < 0.06 * expected.norm()
