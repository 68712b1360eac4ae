"""Reading plain data: records take what they know, settings refuse what they do not."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from darkit_nb.errors import ConfigError
from darkit_nb.records.plain import only_fields, own_fields


@dataclass
class Pair:
    one: int
    other: int = 2


def test_records_pass_over_what_newer_versions_wrote():
    assert own_fields(Pair, {"one": 1, "newer": 3}) == {"one": 1}


def test_settings_name_what_they_do_not_know():
    assert only_fields(Pair, {"one": 1}, "pair") == {"one": 1}
    with pytest.raises(ConfigError, match="The pair settings hold keys") as caught:
        only_fields(Pair, {"one": 1, "tow": 2, "ono": 3}, "pair")
    assert caught.value.received == "ono, tow"
    assert caught.value.expected == "only one, other"
