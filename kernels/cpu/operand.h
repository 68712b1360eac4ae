// Tokens as the left side of an integer product: a byte a feature, in the order of the segments.

#pragma once

#include "gif_law.h"
#include "product.h"

namespace {

// What a backward needs of tokens beside their products.
struct Kept {
    i8* centred;   // [R, D], counts less zero points
    float* scale;  // [R, G]
    i32 clamped;   // whether a code was
};

// Counts of a vector of features of the row as unsigned bytes, in units of the salient scale where that serves all; in
// `centred`, unless it is null, less their zero point. Whether one was clamped.
template <bool SOUND, class V>
DK_INLINE typename Of<V>::Int encode_bytes(const Rows& rows, const Groups& groups, float ratio, u8* line, i8* centred, i64 j) {
    Terms<V> terms = terms_of<V>(rows, groups, j);
    V code = rounded_quotient(read<V>(rows.row + j), terms.scale, terms.inverse) + terms.zero;
    V count = SOUND ? code : limited(code, terms);
    auto clamped = SOUND ? typename Of<V>::Int{} : typename Of<V>::Int(count != code);
    if (centred) write_as<i8>(centred + j, integers(count - terms.zero));
    if (ratio > 0.0f) {
        auto is_salient = read<typename Of<V>::Int>(rows.salient + j) != 0;
        count = is_salient ? count : count * ratio;
    }
    if (rows.is_signed) count = count + 128.0f;
    write_as<u8>(line + j, integers(count));
    return clamped;
}

template <bool SOUND>
bool encode_line(const Rows& rows, const Groups& groups, float ratio, u8* line, i8* centred) {
    WideInt wide = {};
    i32 any = 0;
    i64 j = 0;
    for (; j + WIDTH <= rows.features; j += WIDTH) {
        wide |= encode_bytes<SOUND, Wide>(rows, groups, ratio, line, centred, j);
    }
    for (; j < rows.features; ++j) any |= encode_bytes<SOUND, float>(rows, groups, ratio, line, centred, j);
    return any != 0 || bits_of(wide != 0) != 0;
}

// What the operand of a token is too large by, over usual and over salient features.
inline Token token_of(const Plan& plan, const float* scale, const i32* zero, i64 last) {
    u32 low = (u32)zero[0] * (plan.merged ? (u32)plan.ratio : 1u), high = (u32)zero[last];
    if (plan.is_signed) low = high = 128;
    return {{scale[0], scale[last]}, {low, high}};
}

// Tokens `rows.row`: their bytes in `line`, and what a backward needs where that is wanted.
inline Token encode_token(const Plan& plan, const Rows& rows, u8* line, i8* centred, bool& clamped) {
    Groups groups = groups_of(rows);
    float scale[2] = {groups.normal.scale, groups.salient.scale}, ratio = plan.merged ? (float)plan.ratio : 0.0f;
    i32 zero[2] = {(i32)groups.normal.zero, (i32)groups.salient.zero};
    if (groups.sound) encode_line<true>(rows, groups, ratio, line, centred);
    else clamped = encode_line<false>(rows, groups, ratio, line, centred);
    return token_of(plan, scale, zero, 1);
}

// The same of counts that are there already.
inline void take_counts(const Plan& plan, const u8* counts, u8* line) {
    u8 flip = plan.is_signed ? 128 : 0;
    if (plan.factor) {
        for (i64 j = 0; j < plan.features; ++j) line[j] = (u8)(counts[j] * plan.factor[j]) ^ flip;
    } else {
        for (i64 j = 0; j < plan.features; ++j) line[j] = counts[j] ^ flip;
    }
}

// A unit of neighbours, of which there are `count`, and zeros.
inline void copy_places(const u8* line, i64 count, u8* out) {
    if (count >= UNIT) {
        memcpy(out, line, UNIT);
    } else {
        memcpy(out, line, (size_t)count);
        memset(out + count, 0, (size_t)(UNIT - count));
    }
}

// The bytes of a token in units, 1024 bytes apart. `line` has room for one more: what places without a feature hold.
inline void write_operand(const Plan& plan, u8* line, u8* out) {
    line[plan.features] = 0;
    for (i64 unit = 0; unit < plan.units; ++unit, out += UNIT_BYTES) {
        i64 at = unit * UNIT, left = plan.features - at;
        if (unit >= plan.plain) {
            const i32* order = plan.order + (unit - plan.plain) * UNIT;
            i64 run = plan.run[unit - plan.plain];
            if (run) copy_places(line + order[0], run, out);
            else for (i64 k = 0; k < UNIT; ++k) out[k] = line[order[k]];
        } else {
            copy_places(line + at, left, out);
        }
    }
}

// Sum of the operand of a token over each segment whose codes are met as they are stored: all of them, or those of 8 bits.
inline void sum_operand(const Plan& plan, bool all, const u8* operand, u32* out) {
    for (i64 s = 0; s < plan.segments; ++s) {
        const Segment& segment = plan.segment[s];
        if (!segment.zero || !(all || segment.bits == 8)) continue;
        u32 sum = 0;
        for (i64 unit = segment.begin; unit < segment.end; ++unit) {
            for (i64 k = 0; k < UNIT; ++k) sum += operand[unit * UNIT_BYTES + k];
        }
        out[s] = sum;
    }
}

}  // namespace
