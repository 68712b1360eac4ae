// The grid that codes each output and group of a weight best, on the CPU: a row stays in the cache for all grids.
//
// Formula    argmin_c sum over j in g of h_j (w_oj - s clamp(round(w_oj / s), low, high))^2, s, low, high of c, o and g; the
//            first of equals; darkit_nb/functional/weight_range.py.
// Layout     weight [O, D], rows `stride` elements apart, features of a group side by side, group g from bound[g] to
//            bound[g + 1]; importance [D]; scale, low, high [C, O, G]; best [O, G].
// Order      a row at a time, group by group, grid by grid.
// Numerics   float32; a sum is sixteen, of every sixteenth feature each, added in halves: the same on any instruction set.

#include "threads.h"
#include "vector.h"

namespace {

const i64 LANES = 16;

// As darkit_nb/ops/weight_range.py writes it.
struct Call {
    const float* weight;
    i64 stride, outputs;
    const float* importance;
    const i64* bound;
    i64 groups, grids;
    const float *scale, *low, *high;
    i64* best;
    i64 threads;
};

struct Grid {
    float scale, inverse, low, high;
};

template <class V>
DK_INLINE V missed(V weight, V importance, const Grid& grid) {
    V scale = all<V>(grid.scale), low = all<V>(grid.low), high = all<V>(grid.high);
    V code = rounded_quotient(weight, scale, all<V>(grid.inverse));
    code = code < low ? low : code, code = code > high ? high : code;
    V error = weight - code * scale;
    return error * error * importance;
}

float error_of(const float* weight, const float* importance, i64 count, const Grid& grid) {
    Wide sums[LANES / WIDTH] = {};
    i64 j = 0;
    for (; j + LANES <= count; j += LANES) {
        for (i64 v = 0; v < LANES / WIDTH; ++v) {
            i64 at = j + v * WIDTH;
            sums[v] = sums[v] + missed(read<Wide>(weight + at), read<Wide>(importance + at), grid);
        }
    }
    float lane[LANES];
    memcpy(lane, sums, sizeof(lane));
    for (i64 first = j; j < count; ++j) lane[j - first] = lane[j - first] + missed(weight[j], importance[j], grid);
    for (i64 half = LANES / 2; half; half /= 2) {
        for (i64 i = 0; i < half; ++i) lane[i] = lane[i] + lane[i + half];
    }
    return lane[0];
}

void search(const Call& call, i64 o) {
    const float* row = call.weight + o * call.stride;
    for (i64 g = 0; g < call.groups; ++g) {
        i64 first = call.bound[g], best = 0;
        float least = 0.0f;
        for (i64 c = 0; c < call.grids; ++c) {
            i64 at = (c * call.outputs + o) * call.groups + g;
            Grid grid = {call.scale[at], inverse_of(call.scale[at]), call.low[at], call.high[at]};
            float error = error_of(row + first, call.importance + first, call.bound[g + 1] - first, grid);
            if (c == 0 || error < least) least = error, best = c;
        }
        call.best[o * call.groups + g] = best;
    }
}

}  // namespace

DK_EXPORT(dk_weight_range)(const Call* call) {
    auto body = [&](i64 begin, i64 end, i64) {
        for (i64 o = begin; o < end; ++o) search(*call, o);
    };
    i64 cost = call->bound[call->groups] * call->grids;
    in_parts(call->outputs, 1, parts_of(call->outputs, cost, call->threads), body);
    return 0;
}
