// What an integer product of counts and weight codes is told, and what stands between its sums and its results.
//
// Features come in units of 64, outputs in blocks of 16. A unit of a block is 1024 bytes: 16 lines of four features, each
// line holding these four of all 16 outputs, the order of the tiles of AMX and of dot products of four bytes. Codes of
// 4, 2 or 1 bits share bytes with those of the next units: the low bits are those of the first one.
// A segment is a run of features with one scale of activations and one of weights; it begins at a unit of its own.

#pragma once

#include "vector.h"

namespace {

const i64 UNIT = 64, BLOCK = 16, UNIT_BYTES = UNIT * BLOCK, LINES = UNIT / 4;
const i64 MOST_IN_BYTE = 8;

// As darkit_nb/ops/_product_native.py writes it: every field 8 bytes.
struct Segment {
    i64 begin, end;         // units
    i64 scale;              // 0 or 1, which scale of a token
    i64 ends_group;         // whether the scale of the weights comes after this segment
    i64 bits;               // 1, 2, 4: codes + zero; 8: signed codes + zero
    const u8* blocks;       // [O / 16, units / (8 / bits)] units
    i64 stride;             // bytes of a block
    const i32* zero;        // [O16] of the stored codes, or null where they are centred
    const i32 *low, *high;  // [O16], sums of the centred codes of usual and of salient features; high may be null
    const float* weight_scale;
};

struct Plan {
    i64 features, outputs, units, segments;
    const Segment* segment;
    const i32* order;    // [(units - plain) * 64], feature of each place, `features` for none
    const u8* factor;    // [D], what counts are multiplied with, or null
    const float* bias;   // [O16] or null
    const i32* salient;  // [D] or null
    i64 is_signed, cap_lo, cap_hi, ratio, own, merged;
    i64 plain;  // units from the first one that hold features as they lie, all of them; `order` is of the units behind
    const i32* run;  // [units - plain], how many features of such a unit follow its first one in a row if it has no others, or 0
};
static_assert(sizeof(void*) == 8, "a plan is made of 64-bit words");

// Of one token: its scales, and what its operand is too large by, as 32-bit integers that may wrap.
struct Token {
    float scale[2];
    u32 zero[2];
};

struct Totals {
    float inner[BLOCK][BLOCK], total[BLOCK][BLOCK];
};

// A vector of a token's sums over a segment less what operand and codes are too large by, times the token's scale.
DK_INLINE Wide scaled_sum(const Segment& segment, const Token& token, const u32* operand_sum, const i32* sums, i64 o) {
    WideBits sum = read<WideBits>(sums) - read<WideBits>(segment.low + o) * token.zero[0];
    if (segment.high) sum -= read<WideBits>(segment.high + o) * token.zero[1];
    if (operand_sum) sum -= read<WideBits>(segment.zero + o) * *operand_sum;
    return __builtin_convertvector((WideInt)sum, Wide) * token.scale[segment.scale];
}

// Sums of a tile of 16 tokens and 16 outputs become part of the totals.
inline void flush(const Segment& segment, const Token* tokens, const u32* operand_sums, i64 sums_stride, i64 block, i64 rows,
                  const i32* sums, Totals& totals, bool opens_group, bool first) {
    for (i64 v = 0; v < BLOCK; v += WIDTH) {
        i64 o = block * BLOCK + v;
        Wide weight_scale = read<Wide>(segment.weight_scale + o);
        for (i64 i = 0; i < rows; ++i) {
            const u32* operand_sum = operand_sums ? operand_sums + i * sums_stride : 0;
            Wide value = scaled_sum(segment, tokens[i], operand_sum, sums + i * BLOCK + v, o);
            float *inner = totals.inner[i] + v, *total = totals.total[i] + v;
            if (!opens_group) value = read<Wide>(inner) + value;
            if (!segment.ends_group) {
                write(inner, value);
                continue;
            }
            value = value * weight_scale;
            write(total, first ? value : read<Wide>(total) + value);
        }
    }
}

// A vector of outputs from `o`, with the bias, into row `row` of y.
DK_INLINE void store_outputs(const Plan& plan, Wide value, i64 row, i64 o, void* y, i64 y_type) {
    i64 at = row * plan.outputs + o;
    if (plan.bias) value = value + read<Wide>(plan.bias + o);
    if (o + WIDTH <= plan.outputs) {
        store(y, y_type, at, value);
    } else {
        for (i64 w = 0; o + w < plan.outputs; ++w) store<float>(y, y_type, at + w, value[w]);
    }
}

// Totals of a tile into rows of y.
inline void store_totals(const Plan& plan, const float (*total)[BLOCK], i64 block, i64 row, i64 rows, void* y, i64 y_type) {
    for (i64 i = 0; i < rows; ++i) {
        for (i64 v = 0; v < BLOCK; v += WIDTH) {
            store_outputs(plan, read<Wide>(total[i] + v), row + i, block * BLOCK + v, y, y_type);
        }
    }
}

// Both at once for a tile whose sums over all segments are there, `sums_stride` numbers apart.
inline void finish(const Plan& plan, const Token* tokens, const u32* operand_sums, const i32* sums, i64 sums_stride, i64 block,
                   i64 row, i64 rows, void* y, i64 y_type) {
    for (i64 i = 0; i < rows; ++i) {
        for (i64 v = 0; v < BLOCK; v += WIDTH) {
            i64 o = block * BLOCK + v;
            Wide inner = {}, total = {};
            bool opens_group = true, first = true;
            for (i64 s = 0; s < plan.segments; ++s) {
                const Segment& segment = plan.segment[s];
                const u32* operand_sum = segment.bits == 8 && segment.zero ? operand_sums + i * plan.segments + s : 0;
                Wide value = scaled_sum(segment, tokens[i], operand_sum, sums + s * sums_stride + i * BLOCK + v, o);
                inner = opens_group ? value : inner + value;
                opens_group = segment.ends_group != 0;
                if (!opens_group) continue;
                value = inner * read<Wide>(segment.weight_scale + o);
                total = first ? value : total + value;
                first = false;
            }
            store_outputs(plan, total, row + i, o, y, y_type);
        }
    }
}

// The codes of a block of a segment as signed bytes, centred: units [begin, end) of it in `out`.
inline void unpack_block(const Segment& segment, i64 block, i64 begin, i64 end, i8* out) {
    i64 each = 8 / segment.bits;
    u32 mask = ((1u << segment.bits) - 1u) * 0x01010101u;
    const u8* from = segment.blocks + block * segment.stride;
    for (i64 v = 0; v < BLOCK; v += WIDTH) {
        // The zero of each output, in all four bytes of its lane.
        typedef Small<u8, WIDTH * 4>::type Bytes;
        Bytes zero = same_bits<Bytes>((read<WideBits>(segment.zero + block * BLOCK + v) & 255u) * 0x01010101u);
        for (i64 unit = begin; unit < end; ++unit) {
            const u8* packed = from + unit / each * UNIT_BYTES + v * 4;
            u32 shift = (u32)(unit % each * segment.bits);
            for (i64 line = 0; line < LINES; ++line) {
                WideBits codes = (read<WideBits>(packed + line * UNIT) >> shift) & mask;
                write(out + (unit - begin) * UNIT_BYTES + line * UNIT + v * 4, same_bits<Bytes>(codes) - zero);
            }
        }
    }
}

}  // namespace
