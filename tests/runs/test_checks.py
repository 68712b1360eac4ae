"""What is refused before a process is started."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from darkit_nb.config import RunConfig
from darkit_nb.errors import PluginError
from darkit_nb.models.build import build_model
from darkit_nb.plugins import Entry, registry
from darkit_nb.runs.checks import check_before_start, model_shape


@pytest.fixture(params=[{}, {"family": "llama"}, {"family": "llama", "config": "nano"}])
def incomplete(request: pytest.FixtureRequest) -> Iterator[str]:
    """A model of a plug-in that forgot to say what it is."""
    known = registry("model")
    known.add(Entry("halfway", "a plug-in's model", "nowhere:build", request.param))
    yield "halfway"
    del known._entries["halfway"]


def test_a_model_that_says_no_family_or_config_is_named(incomplete: str):
    config = RunConfig().replace({"model.preset": incomplete})
    for use in (model_shape, check_before_start, lambda config: build_model(config.model.preset)):
        with pytest.raises(PluginError, match="'halfway' is not complete") as caught:
            use(config)
        assert "an option" in str(caught.value.expected)
        assert caught.value.received


def test_the_shape_of_a_preset_takes_its_overrides():
    shape = model_shape(RunConfig().replace({"model.overrides": {"num_hidden_layers": 3}}))
    assert shape is not None
    assert shape["num_hidden_layers"] == 3
    assert shape["model_type"]
    assert model_shape(RunConfig().replace({"model.path": "somewhere"})) is None
