"""Generated text with what it took: exact sums, nothing loaded, the words escaped."""

from __future__ import annotations

from darkit_nb.views.generated_text import Totals, generated_html, generated_text


def token(text: str, rate: float | None = 0.9, **changes):
    return {"text": text, "firing_rate": rate, "energy_pj": 2e6, "unary_events": 7, "seconds": 0.5} | changes


def test_the_sum_line():
    tokens = [token("a", 0.5), token("b", 0.7, energy_pj=4e6)]
    assert Totals.of(tokens) == Totals(2, 2.0, 0.6, 3e6)
    assert (
        generated_text("x", tokens) == "xab\n\n2 tokens · 2.00 tokens/s · fires 60.0 % · 3.00 µJ per token (simulated)"
    )
    assert generated_text("x", []) == "x"
    assert str(Totals.of([token("a", None)])) == "1 token · 2.00 tokens/s · 2.00 µJ per token (simulated)"


def test_the_page():
    page = generated_html("<p>", [token("<b>", 0.5), token("\n", 0.9), token(""), token("z", None)])
    assert "&lt;p&gt;" in page
    assert "&lt;b&gt;" in page
    assert "⏎\n" in page
    assert page.count("<span title=") == 3
    assert "from 50.0 % to 90.0 %" in page
    assert "<script" not in page
    assert "src=" not in page
