// Generalised integrate-and-fire neuron over the features of one token on the CPU: quantise and fire.
//
// Formula    that of kernels/gif.cu, stated in darkit_nb/functional/gif.py.
// Layout     x [R, D], each row contiguous, rows `x_stride` elements apart; counts [R, D] contiguous, or [R, ceil(D/2)]
//            bytes of two 4-bit counts; values and clamped [R, D]; scale float [R, G], zero int [R, G],
//            G = 1 or 2 (normal, salient). A null output is not wanted.
// Order      a row is read for its range and, while it is in the cache, again for its codes: one pass over memory.
// Numerics   those of gif_law.h.

#include "gif_law.h"
#include "threads.h"

namespace {

struct Outputs {
    void* counts;
    i64 count_type, centred;
    void* values;
    i64 value_type;
    u8* clamped;
    float* scale;
    i32* zero;
    i64 past_caches;  // whether counts or values are larger than they are
};

// Codes of a vector of features; which of them were clamped. A row that is SOUND has none.
template <bool SOUND, class V>
DK_INLINE typename Of<V>::Int encode(const Rows& rows, const Groups& groups, const Outputs& out, i64 r, i64 j) {
    typedef typename Of<V>::Int Int;
    Terms<V> terms = terms_of<V>(rows, groups, j);
    V code = rounded_quotient(read<V>(rows.row + j), terms.scale, terms.inverse) + terms.zero;
    V kept = SOUND ? code : limited(code, terms), centred = kept - terms.zero;
    Int is_clamped = kept == code ? Int{} : Int{} + 1;
    if (SOUND) is_clamped = Int{};
    i64 at = r * rows.features + j;
    if (out.counts && out.count_type == UINT4) {
        write_halves((u8*)out.counts + r * ((rows.features + 1) / 2), j, integers(kept));
    } else if (out.counts) {
        store(out.counts, out.count_type, at, out.centred ? centred : kept, out.past_caches);
    }
    if (out.values) store(out.values, out.value_type, at, centred * terms.scale, out.past_caches);
    if (out.clamped) write_as<u8>(out.clamped + at, is_clamped);
    return is_clamped;
}

// Whether a code of the row was clamped.
template <bool SOUND>
bool encode_row(const Rows& rows, const Groups& groups, const Outputs& out, i64 r) {
    WideInt wide = {};
    i64 j = 0;
    for (; j + WIDTH <= rows.features; j += WIDTH) wide |= encode<SOUND, Wide>(rows, groups, out, r, j);
    i32 any = 0;
    for (; j < rows.features; ++j) any |= encode<SOUND, float>(rows, groups, out, r, j);
    return any != 0 || bits_of(wide != 0) != 0;
}

struct Call {
    const void* x;
    i64 x_type, x_stride, rows, features;
    Law law;  // its salient features those of every mask, [M, D]
    Masks masks;
    Outputs out;
    i64 threads;
};

}  // namespace

// Returns how many rows have a clamped code, or -1 when there was no memory.
DK_EXPORT(dk_gif_forward)(const Call* call) {
    const Outputs& out = call->out;
    i64 groups_per_row = call->law.salient ? 2 : 1, found = 0, failed = 0;
    auto body = [&](i64 begin, i64 end, i64) {
        i64 mine = 0;
        Rows rows = {call->law, call->features, 0, 0};
        Room room = room_for(call->x_type, call->features);
        if (!room.held) return __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
        for (i64 r = begin; r < end; ++r) {
            rows.row = widened_row(call->x, call->x_type, r * call->x_stride, call->features, room.row);
            rows.salient = mask_of(call->law, call->masks, call->features, r);
            Groups groups = groups_of(rows);
            i64 at = r * groups_per_row;
            out.scale[at] = groups.normal.scale, out.zero[at] = (i32)groups.normal.zero;
            if (call->law.salient) out.scale[at + 1] = groups.salient.scale, out.zero[at + 1] = (i32)groups.salient.zero;
            mine += groups.sound ? encode_row<true>(rows, groups, out, r) : encode_row<false>(rows, groups, out, r);
        }
        if (out.past_caches) settle_streams();
        free(room.row);
        __atomic_fetch_add(&found, mine, __ATOMIC_RELAXED);
    };
    in_parts(call->rows, 1, parts_of(call->rows, call->features, call->threads), body);
    return failed ? -1 : found;
}
