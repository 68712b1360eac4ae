// Codes of a block of features on the CPU, the first feature first: a tile of outputs stays in the cache for the block.
//
// Formula    compensate: q_j = clamp(round(w_j / s_j)), e_j = (w_j - q_j s_j) / U_jj, w_k -= U_jk e_j for k > j, cost = sum e_j^2
//            descend:    r_j = clamp(round(q_j + p_j / (s_j H_jj))), m_j = (r_j - q_j) s_j, p_k -= H_jk m_j for k > j
//            darkit_nb/functional/weight_sweep.py.
// Layout     left (w or p) [K, O], rows `left_stride` elements apart; codes [K, O]; missed (e or m) [K, O]; cost [O];
//            scale, low, high [G, O]; factor [K, K], row j the column j of U or H: what the features before do to j.
// Order      64 outputs at a time; of each feature is taken what all before it left, one after the other.
// Numerics   float32, the operations of the definition in its order: bit-equal to it, on any instruction set.

#include "threads.h"
#include "vector.h"

namespace {

const i64 MOST_FEATURES = 128;  // as in darkit_nb/ops/weight_sweep.py

// As darkit_nb/ops/weight_sweep.py writes it.
struct Call {
    const float* left;
    i64 left_stride, features, outputs;
    const float* factor;
    const float *scale, *low, *high;
    const i64* group;
    i64 again;  // descend: `codes` holds those to begin with
    i16* codes;
    float *missed, *cost;
    i64 threads;
};

DK_INLINE float wide_code(const i16* from, float) { return (float)*from; }
DK_INLINE Wide wide_code(const i16* from, Wide) {
    return __builtin_convertvector(read<Small<i16, WIDTH>::type>(from), Wide);
}

// The range of codes of COUNT vectors of outputs in one group.
template <class V, i64 COUNT>
struct Range {
    V scale[COUNT], inverse[COUNT], low[COUNT], high[COUNT];

    DK_INLINE void take(const Call& call, i64 group, i64 o) {
        for (i64 c = 0; c < COUNT; ++c) {
            i64 at = group * call.outputs + o + c * Of<V>::width;
            scale[c] = read<V>(call.scale + at), low[c] = read<V>(call.low + at), high[c] = read<V>(call.high + at);
            inverse[c] = scale[c] < 0x1p100f ? 1.0f / scale[c] : all<V>(__builtin_nanf(""));
        }
    }
    DK_INLINE V limited(V code, i64 c) const {
        code = code < low[c] ? low[c] : code;
        return code > high[c] ? high[c] : code;
    }
};

// COUNT vectors of outputs from `o`, all features.
template <class V, i64 COUNT, bool AGAIN>
void code_tile(const Call& call, i64 o) {
    const i64 width = Of<V>::width;
    V missed[MOST_FEATURES * COUNT], cost[COUNT] = {};
    Range<V, COUNT> range;
    for (i64 j = 0, group = -1; j < call.features; ++j) {
        if (call.group[j] != group) range.take(call, group = call.group[j], o);
        V value[COUNT];
        for (i64 c = 0; c < COUNT; ++c) value[c] = read<V>(call.left + j * call.left_stride + o + c * width);
        const float* factor = call.factor + j * call.features;
        for (i64 i = 0; i < j; ++i) {
            for (i64 c = 0; c < COUNT; ++c) value[c] = value[c] - missed[i * COUNT + c] * factor[i];
        }
        for (i64 c = 0; c < COUNT; ++c) {
            i64 at = j * call.outputs + o + c * width;
            V code, scale = range.scale[c];
            if (AGAIN) {
                V before = wide_code(call.codes + at, V{});
                code = range.limited(round_even(before + value[c] / (scale * factor[j])), c);
                missed[j * COUNT + c] = (code - before) * scale;
            } else {
                code = range.limited(rounded_quotient(value[c], scale, range.inverse[c]), c);
                V error = (value[c] - code * scale) / factor[j];
                missed[j * COUNT + c] = error, cost[c] = cost[c] + error * error;
            }
            write_as<i16>(call.codes + at, integers(code == code ? code : V{}));
            write(call.missed + at, missed[j * COUNT + c]);
        }
    }
    if (AGAIN) return;
    for (i64 c = 0; c < COUNT; ++c) write(call.cost + o + c * width, cost[c]);
}

template <bool AGAIN>
void code_outputs(const Call& call, i64 begin, i64 end) {
    i64 o = begin;
    for (; o + 64 <= end; o += 64) {
        for (i64 part = 0; part < 64; part += 4 * WIDTH) code_tile<Wide, 4, AGAIN>(call, o + part);
    }
    for (; o + WIDTH <= end; o += WIDTH) code_tile<Wide, 1, AGAIN>(call, o);
    for (; o < end; ++o) code_tile<float, 1, AGAIN>(call, o);
}

}  // namespace

DK_EXPORT(dk_weight_sweep)(const Call* call) {
    auto body = [&](i64 begin, i64 end, i64) {
        if (call->again) code_outputs<true>(*call, begin, end);
        else code_outputs<false>(*call, begin, end);
    };
    i64 cost = call->features * call->features / 8;
    in_parts(call->outputs, 64, parts_of(call->outputs, cost, call->threads), body);
    return 0;
}
