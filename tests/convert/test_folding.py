"""Embeddings and head of a rotated model, folded some rows at a time."""

from __future__ import annotations

import pytest
import torch

from darkit_nb.convert import folding
from darkit_nb.convert.relations import FAMILIES
from darkit_nb.convert.rotation import hadamard_rotation


@pytest.mark.parametrize("family", [each for each in FAMILIES if each.name in ("Llama", "OPT")], ids=lambda f: f.name)
def test_a_large_vocabulary_is_folded_in_parts(family, monkeypatch: pytest.MonkeyPatch):
    random = torch.Generator().manual_seed(0)
    table, gain, bias = (torch.randn(*shape, generator=random) for shape in ((50, 36), (36,), (36,)))
    rotation, wide = hadamard_rotation(36, 1), table.double()
    sizes: list[int] = []
    turn = folding.rotate_inputs
    monkeypatch.setattr(folding, "rotate_inputs", lambda rows, r: (sizes.append(len(rows)), turn(rows, r))[1])
    monkeypatch.setattr(folding, "ROWS", 7)
    centred = wide - wide.mean(-1, keepdim=True) if family.centred else wide
    torch.testing.assert_close(folding.folded_table(table, family, rotation), (centred @ rotation).float())
    weight, shift = folding.folded_head(table, gain, bias, rotation)
    torch.testing.assert_close(weight, (wide * gain.double() @ rotation).float())
    torch.testing.assert_close(shift, (wide @ bias.double()).float())
    assert max(sizes) == 7
    assert sum(sizes) == 50
