// Generalised integrate-and-fire neuron over the features of one token on the CPU: quantise, fire, and the gradient of both.
//
// Formula    that of kernels/gif.cu, stated in darkit_nb/functional/gif.py.
// Layout     x [R, D], each row contiguous, rows `x_stride` elements apart; grad, out, values, counts and clamped [R, D]
//            contiguous; scale float [R, G], zero int [R, G], G = 1 or 2 (normal, salient); salient int [D], 0 or not.
//            A null output is not wanted.
// Order      a row is read for its range and, while it is in the cache, again for its codes: one pass over memory.
// Numerics   float32, IEEE division, round half to even: counts, scale and zero bit-equal to the reference. A token with a
//            NaN or infinity gets counts 0 and a NaN or infinite scale.

#include "threads.h"
#include "vector.h"

namespace {

const float SCALE_FLOOR = 0x1p-100f;
const i64 LANES = 4;  // vectors a reduction keeps apart, to hide the time one operation waits for the one before

// The law, and the row a thread is at.
struct Rows {
    const i32* salient;
    i64 features;
    float cap_lo, cap_hi, ratio;  // ratio 0: the two scales are no integer apart
    bool own, is_signed;
    const float *row, *grad;
};

// `features` elements of `base` from `start` as float32: where they lie if they are that already, else in `room`.
const float* widened_row(const void* base, i64 type, i64 start, i64 features, float* room) {
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

enum Members { EVERYONE = -1, NORMAL = 0, SALIENT = 1 };

struct Ends {
    float lo, hi;
};

struct Group {
    float scale, zero, low, cap;
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

// Smallest and largest value of a row and of what `ends` holds before; both NaN where one value is.
Ends extremes(const Rows& rows, Members members, Ends ends) {
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
    for (i64 k = 0; k < LANES; ++k) {
        for (i64 w = 0; w < WIDTH; ++w) {
            if (lo[k][w] < ends.lo) ends.lo = lo[k][w];
            if (hi[k][w] > ends.hi) ends.hi = hi[k][w];
            broken |= nan[k][w] != 0;
        }
    }
    if (broken) ends.lo = ends.hi = __builtin_nanf("");
    return ends;
}

Ends range_of(const Rows& rows, Members members) {
    Ends ends = extremes(rows, members, {0.0f, 0.0f});
    if (rows.is_signed && ends.lo == ends.lo) ends.lo = 0.0f;
    return ends;
}

float scale_of(Ends ends, float cap) {
    float scale = (ends.hi - ends.lo) / cap;
    return scale < SCALE_FLOOR ? SCALE_FLOOR : scale;
}

Group group_of(float scale, float zero, float cap, bool is_signed) { return {scale, zero, is_signed ? -cap : 0.0f, cap}; }

Group group_from(Ends ends, float scale, float cap, bool is_signed) {
    float zero = round_even(-ends.lo / scale);
    return group_of(scale, zero == zero ? zero : 0.0f, cap, is_signed);
}

struct Groups {
    Group normal, salient;
};

Groups groups_of(const Rows& rows) {
    if (!rows.salient) {
        Ends ends = range_of(rows, EVERYONE);
        Group one = group_from(ends, scale_of(ends, rows.cap_lo), rows.cap_lo, rows.is_signed);
        return {one, one};
    }
    Ends ends = range_of(rows, rows.own ? NORMAL : EVERYONE), high = rows.own ? range_of(rows, SALIENT) : ends;
    float scale_hi = scale_of(high, rows.cap_hi);
    float scale_lo = rows.ratio > 0.0f ? scale_hi * rows.ratio : scale_of(ends, rows.cap_lo);
    return {group_from(ends, scale_lo, rows.cap_lo, rows.is_signed),
            group_from(high, scale_hi, rows.cap_hi, rows.is_signed)};
}

// What each of a vector's features belongs to.
template <class V>
struct Terms {
    V scale, zero, low, cap;
};

template <class V>
DK_INLINE Terms<V> terms_of(const Rows& rows, const Groups& groups, i64 j) {
    const Group &a = groups.normal, &b = groups.salient;
    Terms<V> out = {all<V>(a.scale), all<V>(a.zero), all<V>(a.low), all<V>(a.cap)};
    if (rows.salient) {
        auto is_salient = read<typename Of<V>::Int>(rows.salient + j) != 0;
        out.scale = is_salient ? all<V>(b.scale) : out.scale;
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

struct Outputs {
    void* counts;
    i64 count_type;
    bool centred;
    void* values;
    i64 value_type;
    u8* clamped;
};

template <class V>
DK_INLINE typename Of<V>::Int encode(const Rows& rows, const Groups& groups, const Outputs& out, i64 r, i64 j) {
    typedef typename Of<V>::Int Int;
    Terms<V> terms = terms_of<V>(rows, groups, j);
    V code = round_even(read<V>(rows.row + j) / terms.scale) + terms.zero;
    V kept = limited(code, terms), centred = kept - terms.zero;
    Int is_clamped = kept == code ? Int{} : Int{} + 1;
    i64 at = r * rows.features + j;
    if (out.counts) store(out.counts, out.count_type, at, out.centred ? centred : kept);
    if (out.values) store(out.values, out.value_type, at, centred * terms.scale);
    if (out.clamped) write_as<u8>(out.clamped + at, is_clamped);
    return is_clamped;
}

// Whether a code of the row was clamped.
bool encode_row(const Rows& rows, const Groups& groups, const Outputs& out, i64 r) {
    WideInt wide = {};
    i64 j = 0;
    for (; j + WIDTH <= rows.features; j += WIDTH) wide |= encode<Wide>(rows, groups, out, r, j);
    i32 any = 0;
    for (; j < rows.features; ++j) any |= encode<float>(rows, groups, out, r, j);
    for (i64 w = 0; w < WIDTH; ++w) any |= wide[w];
    return any != 0;
}

DK_INLINE float total(float value) { return value; }
DK_INLINE float total(Wide value) {
    float sum = 0.0f;
    for (i64 w = 0; w < WIDTH; ++w) sum += value[w];
    return sum;
}

// Sums over a row, one for each group: of what every feature gives to the gradient of its scale, or of the ties of an end.
struct Sums {
    float normal, salient;
};

// g * ((q - zero) - m * x / scale), split by group.
template <class V>
DK_INLINE void add_scale_terms(const Rows& rows, const Groups& groups, i64 j, V& normal, V& salient) {
    Terms<V> terms = terms_of<V>(rows, groups, j);
    V quotient = read<V>(rows.row + j) / terms.scale;
    V code = round_even(quotient) + terms.zero, kept = limited(code, terms);
    V follows = kept == code ? quotient : V{};
    V term = read<V>(rows.grad + j) * (kept - terms.zero - follows);
    if (!rows.salient) {
        normal += term;
        return;
    }
    auto is_salient = read<typename Of<V>::Int>(rows.salient + j) != 0;
    normal += is_salient ? V{} : term;
    salient += is_salient ? term : V{};
}

Sums scale_sums(const Rows& rows, const Groups& groups) {
    Wide normal = {}, salient = {};
    float last_normal = 0.0f, last_salient = 0.0f;
    i64 j = 0;
    for (; j + WIDTH <= rows.features; j += WIDTH) add_scale_terms(rows, groups, j, normal, salient);
    for (; j < rows.features; ++j) add_scale_terms(rows, groups, j, last_normal, last_salient);
    return {last_normal + total(normal), last_salient + total(salient)};
}

template <class V>
DK_INLINE void add_ties(const Rows& rows, i64 j, Members members, Ends ends, V& low, V& high) {
    V value = seen<V>(rows, j, members);
    low += value == ends.lo ? all<V>(1.0f) : V{};
    high += value == ends.hi ? all<V>(1.0f) : V{};
}

// What the ends of a group's range receive, for each tied feature.
struct Shares {
    float lo, hi, lo_share, hi_share;
};

Shares shares_of(const Rows& rows, Members members, Sums sums, float ratio) {
    // Unlike the range of the forward, an end is the extreme itself: where zero replaced it nothing flows.
    Ends ends = extremes(rows, members, {__builtin_inff(), -__builtin_inff()});
    Wide low_ties = {}, high_ties = {};
    float low = 0.0f, high = 0.0f;
    i64 j = 0;
    for (; j + WIDTH <= rows.features; j += WIDTH) add_ties(rows, j, members, ends, low_ties, high_ties);
    for (; j < rows.features; ++j) add_ties(rows, j, members, ends, low, high);
    low += total(low_ties), high += total(high_ties);
    float reach = (ends.hi > 0.0f ? ends.hi : 0.0f) - (rows.is_signed || !(ends.lo < 0.0f) ? 0.0f : ends.lo), gs = 0.0f;
    // A scale at its floor does not follow the range.
    if (ratio > 0.0f) {
        gs = reach / rows.cap_hi < SCALE_FLOOR ? 0.0f : (sums.salient + ratio * sums.normal) / rows.cap_hi;
    } else {
        if (!(reach / rows.cap_lo < SCALE_FLOOR)) gs += sums.normal / rows.cap_lo;
        if (!(reach / rows.cap_hi < SCALE_FLOOR)) gs += sums.salient / rows.cap_hi;
    }
    return {ends.lo, ends.hi, !rows.is_signed && ends.lo <= 0.0f && low > 0.0f ? -gs / low : 0.0f,
            ends.hi >= 0.0f && high > 0.0f ? gs / high : 0.0f};
}

template <class V>
DK_INLINE V share(V value, Shares shares, bool is_signed) {
    V size = is_signed ? magnitude(value) : value, one = all<V>(1.0f);
    // The gradient of |x| is the sign of x, 0 at 0.
    V sign = is_signed ? (value > 0.0f ? one : (value < 0.0f ? -one : V{})) : one;
    return (size == shares.hi ? sign * shares.hi_share : V{}) + (size == shares.lo ? all<V>(shares.lo_share) : V{});
}

struct Back {
    void* out;
    i64 type;
    bool follow_range;
};

template <class V>
DK_INLINE void differentiate(const Rows& rows, const Groups& groups, const Back& back, const Shares& normal,
                             const Shares& salient, i64 r, i64 j) {
    Terms<V> terms = terms_of<V>(rows, groups, j);
    V value = read<V>(rows.row + j), code = round_even(value / terms.scale) + terms.zero;
    i64 at = r * rows.features + j;
    V result = limited(code, terms) == code ? read<V>(rows.grad + j) : V{};
    if (back.follow_range) {
        V more = share(value, normal, rows.is_signed);
        if (rows.own) {
            auto is_salient = read<typename Of<V>::Int>(rows.salient + j) != 0;
            more = is_salient ? share(value, salient, rows.is_signed) : more;
        }
        result += more;
    }
    store(back.out, back.type, at, result);
}

void backward_row(const Rows& rows, const Back& back, const float* scale, const i32* zero, i64 r) {
    i64 count = rows.salient ? 2 : 1, at = r * count, high = at + count - 1;
    Groups groups = {group_of(scale[at], (float)zero[at], rows.cap_lo, rows.is_signed),
                     group_of(scale[high], (float)zero[high], rows.salient ? rows.cap_hi : rows.cap_lo, rows.is_signed)};
    Shares normal = {}, salient = {};
    if (back.follow_range) {
        Sums sums = scale_sums(rows, groups);
        if (rows.own) {
            normal = shares_of(rows, NORMAL, {sums.normal, 0.0f}, 0.0f);
            salient = shares_of(rows, SALIENT, {0.0f, sums.salient}, 0.0f);
        } else {
            normal = shares_of(rows, EVERYONE, sums, rows.salient ? rows.ratio : 0.0f);
        }
    }
    i64 j = 0;
    for (; j + WIDTH <= rows.features; j += WIDTH) differentiate<Wide>(rows, groups, back, normal, salient, r, j);
    for (; j < rows.features; ++j) differentiate<float>(rows, groups, back, normal, salient, r, j);
}

// A row of 16-bit numbers, twice, as float32; null pointers where rows are float32 already.
struct Room {
    float *row, *grad;
    bool held;
};

Room room_for(i64 type, i64 features) {
    if (type == FLOAT32) return {0, 0, true};
    float* memory = (float*)malloc((size_t)features * 8);
    return {memory, memory ? memory + features : 0, memory != 0};
}

}  // namespace

// Returns how many rows have a clamped code, or -1 when there was no memory.
DK_EXPORT(dk_gif_forward)(const void* x, i64 x_type, i64 x_stride, const i32* salient, i64 n_rows, i64 features,
                          float cap_lo, float cap_hi, float ratio, i64 own, i64 is_signed, void* counts, i64 count_type,
                          i64 centred, void* values, i64 value_type, u8* clamped, float* scale, i32* zero, i64 threads) {
    Rows law = {salient, features, cap_lo, cap_hi, ratio, own != 0, is_signed != 0, 0, 0};
    Outputs out = {counts, count_type, centred != 0, values, value_type, clamped};
    i64 groups_per_row = salient ? 2 : 1, found = 0, failed = 0;
    auto body = [&](i64 begin, i64 end, i64) {
        i64 mine = 0;
        Rows rows = law;
        Room room = room_for(x_type, features);
        if (!room.held) return __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
        for (i64 r = begin; r < end; ++r) {
            rows.row = widened_row(x, x_type, r * x_stride, features, room.row);
            Groups groups = groups_of(rows);
            i64 at = r * groups_per_row;
            scale[at] = groups.normal.scale, zero[at] = (i32)groups.normal.zero;
            if (salient) scale[at + 1] = groups.salient.scale, zero[at + 1] = (i32)groups.salient.zero;
            mine += encode_row(rows, groups, out, r);
        }
        free(room.row);
        __atomic_fetch_add(&found, mine, __ATOMIC_RELAXED);
    };
    in_parts(n_rows, 1, parts_of(n_rows, features, threads), body);
    return failed ? -1 : found;
}

// Returns 0, or -1 when there was no memory.
DK_EXPORT(dk_gif_backward)(const void* x, i64 x_type, i64 x_stride, const i32* salient, i64 n_rows, i64 features,
                           float cap_lo, float cap_hi, float ratio, i64 own, i64 is_signed, const void* grad,
                           const float* scale, const i32* zero, void* out, i64 follow_range, i64 threads) {
    Rows law = {salient, features, cap_lo, cap_hi, ratio, own != 0, is_signed != 0, 0, 0};
    Back back = {out, x_type, follow_range != 0};
    i64 failed = 0;
    auto body = [&](i64 begin, i64 end, i64) {
        Rows rows = law;
        Room room = room_for(x_type, features);
        if (!room.held) return __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
        for (i64 r = begin; r < end; ++r) {
            rows.row = widened_row(x, x_type, r * x_stride, features, room.row);
            rows.grad = widened_row(grad, x_type, r * features, features, room.grad);
            backward_row(rows, back, scale, zero, r);
        }
        free(room.row);
    };
    in_parts(n_rows, 1, parts_of(n_rows, features, threads), body);
    return failed ? -1 : 0;
}
