// Float tokens times packed low-bit weights on the CPU, for the few tokens of decoding: codes are read as they are stored.
//
// Formula    y[r, o] = sum over segments s of ws[o, s] * (sum_j x[r, j] * u[o, j] - zero[o, s] * sum_j x[r, j]) + bias[o],
//            u the stored codes; darkit_nb/functional/weight.py: dequantise, then a product.
// Layout     x [R, D], rows `x_stride` elements apart; y [R, O]; weights as in product.h.
// Order      blocks of 16 outputs; a block's codes stay in the cache for all tokens.
// Numerics   float32 sums in an order of their own: as far from the exact value as any float product.

#include "gif_law.h"
#include "product.h"
#include "threads.h"

namespace {

// Add a token's features times the stored codes of `places` units in one; PLACES at a time.
template <i64 BITS, i64 PLACES>
DK_INLINE void add_codes(const u8* codes, const float* x, i64 places, Wide* sums) {
    const u32 mask = (1u << BITS) - 1u;
    for (i64 first = 0; first < places; first += PLACES) {
        for (i64 line = 0; line < LINES; ++line) {
            WideBits packed = read<WideBits>(codes + line * UNIT) >> (u32)(first * BITS);
            for (i64 place = 0; place < PLACES; ++place) {
                const float* four = x + (first + place) * UNIT + line * 4;
                for (i64 k = 0; k < 4; ++k) {
                    WideInt code = BITS == 8 ? (WideInt)(packed << (u32)(24 - 8 * k)) >> 24
                                             : (WideInt)(packed >> (u32)(8 * k + place * BITS) & mask);
                    sums[k] = sums[k] + __builtin_convertvector(code, Wide) * four[k];
                }
            }
        }
    }
}

// Sum of a token's features times the stored codes of a part of a block, from `x` in the order of the segment's places.
template <i64 BITS>
Wide sum_of_codes(const u8* codes, const float* x, i64 units) {
    const i64 each = 8 / BITS;
    Wide sums[4] = {};
    // Bits beyond the last unit are no weights, and what lies beside them may be no number.
    for (i64 unit = 0; unit < units; unit += each, codes += UNIT_BYTES) {
        if (unit + each <= units) add_codes<BITS, each>(codes, x + unit * UNIT, each, sums);
        else add_codes<BITS, 1>(codes, x + unit * UNIT, units - unit, sums);
    }
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

Wide sum_of_segment(const Segment& segment, const u8* codes, const float* x) {
    i64 units = segment.end - segment.begin;
    if (segment.bits == 1) return sum_of_codes<1>(codes, x, units);
    if (segment.bits == 2) return sum_of_codes<2>(codes, x, units);
    if (segment.bits == 4) return sum_of_codes<4>(codes, x, units);
    return sum_of_codes<8>(codes, x, units);
}

// As darkit_nb/ops/_product_native.py writes it.
struct Call {
    const Plan* plan;
    const void* x;
    i64 x_type, x_stride, rows;
    void* y;
    i64 y_type;
    float* room;  // [R, units * 64 + segments], then a row of D
    i64 threads;
};

// A token's features in the order of the places, and their sums over each segment.
void arrange(const Call& call, i64 row, float* wide, float* out) {
    const Plan& plan = *call.plan;
    const float* x = widened_row(call.x, call.x_type, row * call.x_stride, plan.features, wide);
    float* sums = out + plan.units * UNIT;
    for (i64 at = 0; at < plan.units * UNIT; ++at) {
        i64 behind = at - plan.plain * UNIT, feature = behind < 0 ? at : plan.order[behind];
        out[at] = feature < plan.features ? x[feature] : 0.0f;
    }
    for (i64 s = 0; s < plan.segments; ++s) {
        float sum = 0.0f;
        for (i64 at = plan.segment[s].begin * UNIT; at < plan.segment[s].end * UNIT; ++at) sum += out[at];
        sums[s] = sum;
    }
}

void multiply(const Call& call, i64 row, i64 block) {
    const Plan& plan = *call.plan;
    const float *x = call.room + row * (plan.units * UNIT + plan.segments), *sums = x + plan.units * UNIT;
    for (i64 v = 0; v < BLOCK; v += WIDTH) {
        i64 o = block * BLOCK + v;
        Wide total = {};
        for (i64 s = 0; s < plan.segments; ++s) {
            const Segment& segment = plan.segment[s];
            const u8* codes = segment.blocks + block * segment.stride + v * 4;
            Wide sum = sum_of_segment(segment, codes, x + segment.begin * UNIT);
            if (segment.zero) sum = sum - __builtin_convertvector(read<WideInt>(segment.zero + o), Wide) * sums[s];
            total = total + sum * read<Wide>(segment.weight_scale + o);
        }
        if (plan.bias) total = total + read<Wide>(plan.bias + o);
        i64 at = row * plan.outputs + o;
        if (o + WIDTH <= plan.outputs) {
            store(call.y, call.y_type, at, total);
        } else {
            for (i64 w = 0; o + w < plan.outputs; ++w) store<float>(call.y, call.y_type, at + w, total[w]);
        }
    }
}

}  // namespace

DK_EXPORT(dk_weight_only)(const Call* call) {
    const Plan& plan = *call->plan;
    i64 wide = plan.units * UNIT + plan.segments, blocks = (plan.outputs + BLOCK - 1) / BLOCK;
    for (i64 r = 0; r < call->rows; ++r) arrange(*call, r, call->room + call->rows * wide, call->room + r * wide);
    auto body = [&](i64 begin, i64 end, i64) {
        for (i64 block = begin; block < end; ++block) {
            for (i64 r = 0; r < call->rows; ++r) multiply(*call, r, block);
        }
    };
    in_parts(blocks, 1, parts_of(blocks, call->rows * plan.units * UNIT * BLOCK / 16, call->threads), body);
    return 0;
}
