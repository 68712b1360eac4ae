"""What a neuron can be asked for, and that everything wrong with it is told at once."""

from __future__ import annotations

import pytest

from darkit_nb.records.problem import SettingsError
from darkit_nb.records.spike_spec import SpikeSpec


def problems(**fields: object) -> dict[str, str]:
    """Message by key of what is wrong."""
    with pytest.raises(SettingsError) as caught:
        SpikeSpec(**fields)  # type: ignore[arg-type]
    return {problem.key: problem.message for problem in caught.value.problems}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"num_levels": 1}, "an integer ≥ 2 and ≤ 256"),
        ({"num_steps": 2.5}, "an integer ≥ 1 and ≤ 64"),
        ({"num_steps": True}, "an integer ≥ 1 and ≤ 64"),
        ({"salient_fraction": float("nan")}, "a number ≥ 0.0 and ≤ 1.0"),
        ({"coding": "morse"}, "one of rate, radix, paper"),
        ({"signed": 1}, "true/false"),
        ({"include": [1]}, "a list of text"),
    ],
)
def test_a_value_that_does_not_fit_is_told_with_what_would(fields: dict[str, object], expected: str):
    with pytest.raises(SettingsError) as caught:
        SpikeSpec(**fields)  # type: ignore[arg-type]
    (name,) = fields
    assert caught.value.expected == expected
    assert caught.value.message.startswith(f"{name} cannot be")
    assert caught.value.fix


def test_all_values_that_do_not_fit_are_told_at_once():
    assert set(problems(num_levels=1, num_steps=0, coding="morse")) == {"num_levels", "num_steps", "coding"}


def test_all_contradictions_are_told_at_once():
    with pytest.raises(SettingsError) as caught:
        SpikeSpec(num_levels=6, coding="paper", signed=True, weight_bits=12)
    assert [problem.message.split()[0] for problem in caught.value.problems] == ["Paper", "The", "Weights"]
    assert "num_levels=6" in (caught.value.received or "")
    assert "signed=True" in (caught.value.received or "")


def test_codes_that_float_arithmetic_does_not_hold_are_refused():
    assert SpikeSpec(coding="radix", num_levels=16, num_steps=5).cap == 2**20 - 1
    (message,) = problems(coding="radix", num_levels=16, num_steps=6).values()
    assert "codes up to 1.678e+07" in message


def test_lists_become_tuples_so_that_a_spec_can_be_a_key():
    assert hash(SpikeSpec.from_dict(SpikeSpec().to_dict())) == hash(SpikeSpec())
