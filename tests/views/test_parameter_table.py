"""The table of a module's parameters: figures, and what a reader must be told."""

from __future__ import annotations

from darkit_nb.records.parameter_statistics import ParameterStatistics
from darkit_nb.views.parameter_table import parameter_table

FIGURES = {"mean": 0.001, "std": 0.00002, "minimum": -1.0, "maximum": 12_345.0, "zero_share": 0.25, "histogram": (1, 7)}


def own(name: str, **more: object) -> ParameterStatistics:
    facts = {"name": name, "role": "parameter", "shape": (2, 4), "dtype": "float32", "device": "cpu"}
    return ParameterStatistics(**(facts | more))  # pyright: ignore[reportArgumentType]


def test_a_row_a_parameter():
    text = parameter_table([own("weight", counted=8, gradient_norm=2.5, **FIGURES)], "layers.0").to_text(120)
    assert "Parameters of layers.0" in text
    for words in ("weight", "2×4", "0.00100", "2.00e-05", "12.3 k", "25.0 %", "▂█", "2.50"):
        assert words in text
    assert "NaN" not in text


def test_what_is_wrong_or_missing_is_said():
    table = parameter_table(
        [
            own("a", counted=3, not_finite=2, gradient_not_finite=1, **FIGURES),
            own("b", reason="on the meta device there are no values"),
        ]
    )
    assert table.notes == (
        "b: no values, as on the meta device there are no values.",
        "✗ a: 2 of 8 values are NaN or infinite.",
        "✗ a: 1 values of its gradient are NaN or infinite.",
        "a: mean, deviation, zeros and histogram of 3 of 8 values.",
    )
    assert "no parameters" in parameter_table([]).to_text()
