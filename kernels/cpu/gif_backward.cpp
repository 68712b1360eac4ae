// Generalised integrate-and-fire neuron over the features of one token on the CPU: gradient of the values.
//
// Formula    that of kernels/gif.cu, stated in darkit_nb/functional/gif.py.
// Layout     x [R, D], each row contiguous, rows `x_stride` elements apart; grad, out [R, D] contiguous; scale float
//            [R, G], zero int [R, G], as the forward wrote them.
// Order      a row of both is read from memory once, and from the cache for every sum over it.
// Numerics   float32; sums over a row run in the order of vectors.

#include "gif_law.h"
#include "threads.h"

namespace {

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
    V value = read<V>(rows.row + j);
    V code = rounded_quotient(value, terms.scale, terms.inverse) + terms.zero, kept = limited(code, terms);
    V follows = kept == code ? value / terms.scale : V{};
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
    bool follow_range, past_caches;
};

template <class V>
DK_INLINE void differentiate(const Rows& rows, const Groups& groups, const Back& back, const Shares& normal,
                             const Shares& salient, i64 r, i64 j) {
    Terms<V> terms = terms_of<V>(rows, groups, j);
    V value = read<V>(rows.row + j), code = rounded_quotient(value, terms.scale, terms.inverse) + terms.zero;
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
    store(back.out, back.type, at, result, back.past_caches);
}

void backward_row(const Rows& rows, const Back& back, const float* scale, const i32* zero, i64 r) {
    i64 count = rows.salient ? 2 : 1, at = r * count, high = at + count - 1;
    bool is_signed = rows.is_signed != 0;
    Groups groups = {group_of(scale[at], (float)zero[at], rows.cap_lo, is_signed),
                     group_of(scale[high], (float)zero[high], rows.salient ? rows.cap_hi : rows.cap_lo, is_signed), false};
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

struct Call {
    const void* x;
    i64 x_type, x_stride, rows, features;
    Law law;  // its salient features those of every mask, [M, D]
    Masks masks;
    const void* grad;
    const float* scale;
    const i32* zero;
    void* out;
    i64 follow_range, past_caches, threads;
};

}  // namespace

// Returns 0, or -1 when there was no memory.
DK_EXPORT(dk_gif_backward)(const Call* call) {
    Back back = {call->out, call->x_type, call->follow_range != 0, call->past_caches != 0};
    i64 failed = 0, features = call->features;
    auto body = [&](i64 begin, i64 end, i64) {
        Rows rows = {call->law, features, 0, 0};
        Room room = room_for(call->x_type, features);
        if (!room.held) return __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
        for (i64 r = begin; r < end; ++r) {
            rows.row = widened_row(call->x, call->x_type, r * call->x_stride, features, room.row);
            rows.grad = widened_row(call->grad, call->x_type, r * features, features, room.grad);
            rows.salient = mask_of(call->law, call->masks, features, r);
            backward_row(rows, back, call->scale, call->zero, r);
        }
        if (back.past_caches) settle_streams();
        free(room.row);
    };
    in_parts(call->rows, 1, parts_of(call->rows, features, call->threads), body);
    return failed ? -1 : 0;
}
