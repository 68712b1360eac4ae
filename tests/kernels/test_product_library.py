"""Proof that a bound, a zero point or a sum taken away from the library's products is noticed."""

from __future__ import annotations

import pytest

from tests.kernels.library import QUICK, Builds, Edit, prove

MUTATIONS = {
    "the zero point of salient features": Edit(
        "product.h", "if (segment.high) sum -= read<WideBits>(segment.high + o) * token.zero[1];", ""
    ),
    "the zero of stored codes": Edit("product.h", "same_bits<Bytes>(codes) - zero", "same_bits<Bytes>(codes)"),
    "the zero of a few tokens": Edit(
        "product.h", "if (operand_sum) sum -= read<WideBits>(segment.zero + o) * *operand_sum;", ""
    ),
    "a group of a finished tile": Edit("product.h", "inner = opens_group ? value : inner + value;", "inner = value;"),
    "the outputs of the weight before": Edit("multiply.h", "before += count;", ""),
    "codes beyond their ends": Edit("operand.h", "if (groups.sound) encode_line<true>", "if (true) encode_line<true>"),
    "the units that lie as they are": Edit("operand.h", "if (unit >= plan.plain) {", "if (unit > plan.plain) {"),
    "where neighbours begin": Edit(
        "operand.h", "copy_places(line + order[0], run, out)", "copy_places(line, run, out)"
    ),
    "zeros behind neighbours": Edit("operand.h", "memset(out + count, 0, (size_t)(UNIT - count));", ""),
    "half of a vector's smallest": Edit("gif_law.h", "other < one ? other : one", "one"),
    "the signs of a row": Edit("rotation.cpp", "scaled(line[j], call.after, j)", "line[j]"),
    "the signs behind a rotation": Edit("rotation.cpp", "scaled(part[i], call.after, j)", "part[i]"),
    "the second level of butterflies": Edit("rotation.cpp", "== end) butterflies<2>", "== end) butterflies<1>"),
    "the share of a range": Edit("rotation.cpp", "high = high * call.keep", "high = high"),
    "codes of weights beyond their ends": Edit("training.cpp", "kept = kept > top ? all<V>(top) : kept;", ""),
    "the sums of salient weights": Edit("training.cpp", "(is_salient ? high : low) += codes[j];", "low += codes[j];"),
    "the zero point of what is kept": Edit("operand.h", "integers(count - terms.zero)", "integers(count)"),
    "a sum kept apart": Edit("dot.h", "for (i64 a = 1; a < apart; ++a) total += sum[a][i][v];", ""),
    "the second block of two": Edit("dot.h", "dot4(sum[1][i], counts, other)", "dot4(sum[1][i], counts, one)"),
    "the second tile of floats": Edit("amx.h", "_tile_dpbf16ps(2, 5, 6);", "_tile_dpbf16ps(2, 4, 6);"),
    "what is left of a float": Edit("float_product.cpp", "value = rest == rest ? rest : Wide{};", "value = Wide{};"),
    "the zero of values": Edit("float_product.cpp", "WideInt) - zero;", "WideInt);"),
    "the end of a full panel": Edit(
        "float_product.cpp",
        "for (i64 unit = begin; unit < end; ++unit) {",
        "for (i64 unit = begin; unit <= end; ++unit) {",
    ),
    "where a token ends": Edit("float_product.cpp", "i64 left = chosen.end - j;", "i64 left = 16;"),
    "where values belong": Edit("float_product.cpp", "memcpy(row + order[0], values", "memcpy(row, values"),
    "the second tile": Edit("amx.h", "_tile_dpbusd(2, 5, 6);", "_tile_dpbusd(2, 4, 6);"),
}


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", MUTATIONS)
def test_what_is_taken_away_is_noticed(builds: Builds, name: str) -> None:
    done = prove(builds.library(QUICK, MUTATIONS[name]), "products", seconds=1100)
    assert done.returncode != 0
    # A wrong number, or memory of others; nothing else may have gone wrong.
    assert "AssertionError" in done.stderr or done.returncode < 0, done.stderr[-2000:]
