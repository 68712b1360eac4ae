"""The table names layers that exist, each exactly once."""

from __future__ import annotations

import pytest
from torch import nn
from transformers.pytorch_utils import Conv1D

from darkit_nb.convert.relations import family_of, widths_of
from tests.convert.decoders import CONFIGS, decoder


@pytest.mark.parametrize("kind", CONFIGS)
def test_every_linear_of_a_block_is_in_the_table_once(kind):
    model = decoder(kind)
    family, widths = family_of(model.config), widths_of(model.config)
    blocks = model.get_submodule(family.blocks)
    assert isinstance(blocks, nn.ModuleList)
    assert len(blocks) == widths.blocks
    found = {name for name, module in blocks[0].named_modules() if isinstance(module, nn.Linear | Conv1D)}
    assert found == set(family.linears)
    assert len(family.linears) == len(found)
    for name, _ in family.norms:
        assert "Norm" in type(blocks[0].get_submodule(name)).__name__
    for name in (*family.embeddings, family.final_norm, family.head):
        model.get_submodule(name)


def test_sizes_under_every_name():
    assert widths_of(decoder("gpt2").config).inner == 96
    assert widths_of(decoder("opt").config).inner == 40
    qwen = widths_of(decoder("qwen3").config)
    assert (qwen.head, qwen.kv_heads, qwen.heads) == (8, 2, 4)
