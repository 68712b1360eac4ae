// The law of the GIF neuron for one token: range, scale and zero point of each group of features, and their codes.
//
// Formula    that of kernels/gif.cu, stated in darkit_nb/functional/gif.py.
// Numerics   float32, IEEE division, round half to even: counts, scale and zero bit-equal to the reference. A token with a
//            NaN or infinity gets counts 0 and a NaN or infinite scale.

#pragma once

#include "vector.h"

namespace {

const float SCALE_FLOOR = 0x1p-100f;
const i64 LANES = 4;  // vectors a reduction keeps apart, to hide the time one operation waits for the one before

// The law as a caller states it.
struct Law {
    const i32* salient;  // [D] of the row, 0 or not; null: no feature is
    float cap_lo, cap_hi, ratio;  // ratio 0: the two scales are no integer apart
    i64 own, is_signed;
};

// The law, and the row a thread is at.
struct Rows : Law {
    i64 features;
    const float *row, *grad;
};

// `features` elements of `base` from `start` as float32: where they lie if they are that already, else in `room`.
inline const float* widened_row(const void* base, i64 type, i64 start, i64 features, float* room) {
    if (type == FLOAT32) return (const float*)base + start;
    i64 j = 0;
    if (type == FLOAT16) {
        for (; j + WIDTH <= features; j += WIDTH) write(room + j, load<Wide>(base, FLOAT16, start + j));
    } else {
        for (; j + WIDTH <= features; j += WIDTH) write(room + j, load<Wide>(base, BFLOAT16, start + j));
    }
    for (; j < features; ++j) write(room + j, load<float>(base, type, start + j));
    return room;
}

// A row of 16-bit numbers, twice, as float32; null pointers where rows are float32 already.
struct Room {
    float *row, *grad;
    bool held;
};

inline Room room_for(i64 type, i64 features) {
    if (type == FLOAT32) return {0, 0, true};
    float* memory = (float*)malloc((size_t)features * 8);
    return {memory, memory ? memory + features : 0, memory != 0};
}

// The salient features of row r: each mask serves `rows` rows in turn.
struct Masks {
    i64 rows;
};

inline const i32* mask_of(const Law& law, Masks masks, i64 features, i64 r) {
    return law.salient ? law.salient + r / masks.rows * features : 0;
}

enum Members { EVERYONE = -1, NORMAL = 0, SALIENT = 1 };

struct Ends {
    float lo, hi;
};

struct Group {
    float scale, inverse, zero, low, cap;
};

template <class V>
DK_INLINE V magnitude(V value) {
    return value < 0.0f ? -value : value;
}

// Element j of a row as the members' group sees it: another group's features are 0 there.
template <class V>
DK_INLINE V seen(const Rows& rows, i64 j, Members members) {
    V value = read<V>(rows.row + j);
    if (members != EVERYONE) {
        auto is_salient = read<typename Of<V>::Int>(rows.salient + j) != 0;
        value = members == SALIENT ? (is_salient ? value : V{}) : (is_salient ? V{} : value);
    }
    return rows.is_signed ? magnitude(value) : value;
}

// Smallest of COUNT numbers, none of which is NaN.
template <i64 COUNT>
DK_INLINE float smallest(typename Small<float, COUNT>::type value) {
    typename Small<float, COUNT / 2>::type one, other;
    __builtin_memcpy(&one, &value, sizeof(one));
    __builtin_memcpy(&other, (const char*)&value + sizeof(one), sizeof(one));
    return smallest<COUNT / 2>(other < one ? other : one);
}
template <>
DK_INLINE float smallest<1>(float value) {
    return value;
}

// Smallest and largest value of a row and of what `ends` holds before; both NaN where one value is.
inline Ends extremes(const Rows& rows, Members members, Ends ends) {
    Wide lo[LANES], hi[LANES];
    WideInt nan[LANES];
    for (i64 k = 0; k < LANES; ++k) lo[k] = all<Wide>(ends.lo), hi[k] = all<Wide>(ends.hi), nan[k] = WideInt{};
    i64 j = 0;
    for (; j + LANES * WIDTH <= rows.features; j += LANES * WIDTH) {
        for (i64 k = 0; k < LANES; ++k) {
            Wide value = seen<Wide>(rows, j + k * WIDTH, members);
            lo[k] = value < lo[k] ? value : lo[k];
            hi[k] = value > hi[k] ? value : hi[k];
            nan[k] |= value != value;
        }
    }
    bool broken = false;
    for (; j < rows.features; ++j) {
        float value = seen<float>(rows, j, members);
        if (value < ends.lo) ends.lo = value;
        if (value > ends.hi) ends.hi = value;
        broken |= value != value;
    }
    for (i64 k = 1; k < LANES; ++k) {
        lo[0] = lo[k] < lo[0] ? lo[k] : lo[0];
        hi[0] = hi[k] > hi[0] ? hi[k] : hi[0];
        nan[0] |= nan[k];
    }
    float least = smallest<WIDTH>(lo[0]), most = -smallest<WIDTH>(-hi[0]);
    if (least < ends.lo) ends.lo = least;
    if (most > ends.hi) ends.hi = most;
    broken |= bits_of(nan[0]) != 0;
    if (broken) ends.lo = ends.hi = __builtin_nanf("");
    return ends;
}

inline Ends range_of(const Rows& rows, Members members) {
    Ends ends = extremes(rows, members, {0.0f, 0.0f});
    if (rows.is_signed && ends.lo == ends.lo) ends.lo = 0.0f;
    return ends;
}

inline float scale_of(Ends ends, float cap) {
    float scale = (ends.hi - ends.lo) / cap;
    return scale < SCALE_FLOOR ? SCALE_FLOOR : scale;
}

inline Group group_of(float scale, float zero, float cap, bool is_signed) {
    return {scale, inverse_of(scale), zero, is_signed ? -cap : 0.0f, cap};
}

inline Group group_from(Ends ends, float scale, float cap, bool is_signed) {
    float zero = round_even(-ends.lo / scale);
    return group_of(scale, zero == zero ? zero : 0.0f, cap, is_signed);
}

// Whether no code of these values can be clamped: codes follow their values, so those of the ends tell.
inline bool is_sound(const Group& group, Ends ends) {
    float lowest = round_even(ends.lo / group.scale) + group.zero, highest = round_even(ends.hi / group.scale) + group.zero;
    return lowest >= group.low && highest <= group.cap;  // false for a NaN
}

struct Groups {
    Group normal, salient;
    bool sound;
};

inline Groups groups_of(const Rows& rows) {
    bool is_signed = rows.is_signed != 0;
    if (!rows.salient) {
        Ends ends = range_of(rows, EVERYONE);
        Group one = group_from(ends, scale_of(ends, rows.cap_lo), rows.cap_lo, is_signed);
        return {one, one, is_sound(one, ends)};
    }
    Ends ends = range_of(rows, rows.own ? NORMAL : EVERYONE), high = rows.own ? range_of(rows, SALIENT) : ends;
    float scale_hi = scale_of(high, rows.cap_hi);
    float scale_lo = rows.ratio > 0.0f ? scale_hi * rows.ratio : scale_of(ends, rows.cap_lo);
    Group normal = group_from(ends, scale_lo, rows.cap_lo, is_signed);
    Group salient = group_from(high, scale_hi, rows.cap_hi, is_signed);
    return {normal, salient, is_sound(normal, ends) && is_sound(salient, high)};
}

// What each of a vector's features belongs to.
template <class V>
struct Terms {
    V scale, inverse, zero, low, cap;
};

template <class V>
DK_INLINE Terms<V> terms_of(const Rows& rows, const Groups& groups, i64 j) {
    const Group &a = groups.normal, &b = groups.salient;
    Terms<V> out = {all<V>(a.scale), all<V>(a.inverse), all<V>(a.zero), all<V>(a.low), all<V>(a.cap)};
    if (rows.salient) {
        auto is_salient = read<typename Of<V>::Int>(rows.salient + j) != 0;
        out.scale = is_salient ? all<V>(b.scale) : out.scale;
        out.inverse = is_salient ? all<V>(b.inverse) : out.inverse;
        out.zero = is_salient ? all<V>(b.zero) : out.zero;
        out.low = is_salient ? all<V>(b.low) : out.low;
        out.cap = is_salient ? all<V>(b.cap) : out.cap;
    }
    return out;
}

template <class V>
DK_INLINE V limited(V code, const Terms<V>& terms) {
    code = code == code ? code : V{};
    code = code < terms.low ? terms.low : code;
    return code > terms.cap ? terms.cap : code;
}

}  // namespace
