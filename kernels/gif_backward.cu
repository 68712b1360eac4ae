// Gradient of quantise-and-fire through the range of the token, in closed form.
//
// Formula    gx = g * m, m = 1 where q was not clamped, plus gs at the maximum of a range and -gs at its minimum, ties
//            evenly, gs = sum_j g_j * ((q_j - zero) - m_j * x_j / s_j) / cap_j.
// Layout     grad, x, out [R, D] row-major in the dtype DK_X; scale float [R, G], zero int [R, G] as the forward wrote
//            them; salient 1 byte [D].
// Launch     a team of DK_TEAM threads per row, blocks of DK_THREADS; rows strided by the grid; 64-bit row offsets.
// Numerics   codes are bit-equal to the forward's; sums run in a fixed order and agree with autograd to rounding.
// Bytes      grad and x once, out once.
// Reference  autograd of darkit_nb/functional/gif.py: gif_quantise.

#include "numeric.cuh"
#include "pack.cuh"
#include "reduce.cuh"
#include "gif.cuh"

// A code and what became of it.
struct Fired {
    float quotient, level;
    bool free;
};

template <bool QUICK>
__device__ __forceinline__ Fired fired_at(float x, const Group& group) {
    float exact = quotient<QUICK>(x, group), code = __fadd_rn(rounded<QUICK>(exact), group.zero);
    float kept = limit<QUICK>(code, group);
    Fired fired = {exact, __fsub_rn(kept, group.zero), kept == code};
    return fired;
}

// Ends of the ranges, how many features share each, and what these receive.
struct Ends {
    float lo[DK_RANGES], hi[DK_RANGES], lo_share[DK_RANGES], hi_share[DK_RANGES];
};

// A feature as the range of group g sees it: others count as 0.
__device__ __forceinline__ float seen_by(int g, float x, bool is_high) {
    float value = DK_SIGNED ? fabsf(x) : x;
    return DK_RANGES == 1 || is_high == g ? value : 0.0f;
}

// One pass over the token: the gradients of its scales and the extremes of its ranges. Unlike the range of the forward
// an extreme has no zero added: where zero replaced it nothing flows.
template <bool QUICK>
__device__ __forceinline__ void sum_up(const Token& token, const Token& grads, i64 features, const u8* salient,
                                       const Group& usual, const Group& high, float* sums, Ends& ends) {
#pragma unroll
    for (int g = 0; g < DK_GROUPS; ++g) sums[g] = 0.0f;
#pragma unroll
    for (int g = 0; g < DK_RANGES; ++g) ends.hi[g] = -(ends.lo[g] = __uint_as_float(0x7f800000u));
#pragma unroll(QUICK ? TURNS : 1)
    for (i64 turn = 0; turn < token.turns(features); ++turn) {
        i64 first = token.first(turn);
        Pack pack = token.template pack<QUICK>(turn), grad = grads.template pack<QUICK>(turn);
        u32 flags = salient_bits(salient, first, token.features);
#pragma unroll
        for (int k = 0; k < DK_VEC; ++k) {
            if (first + k >= token.features) continue;
            bool is_high = flags >> k & 1;
            float value = value_of(pack, k);
            Group mine = chosen(usual, high, is_high);
            Fired fired = fired_at<QUICK>(value, mine);
            float term = value_of(grad, k) * (fired.level - (fired.free ? fired.quotient : 0.0f));
            sums[0] += DK_GROUPS == 2 && is_high ? 0.0f : term;
            if (DK_GROUPS == 2) sums[DK_GROUPS - 1] += is_high ? term : 0.0f;
#pragma unroll
            for (int g = 0; g < DK_RANGES; ++g) {
                float seen = seen_by(g, value, is_high);
                ends.lo[g] = nan_min(ends.lo[g], seen);
                ends.hi[g] = nan_max(ends.hi[g], seen);
            }
        }
    }
    team_reduce<DK_GROUPS, DK_RANGES>(sums, ends.lo, ends.hi);
}

// What a range whose scale is (hi - lo) / cap hands on; a scale at its floor does not follow it.
__device__ __forceinline__ float through(float reach, float cap, float gs) {
    return __fdiv_rn(reach, cap) < SCALE_FLOOR ? 0.0f : gs / cap;
}

template <bool QUICK>
__device__ __forceinline__ void share_out(const Token& token, i64 features, const u8* salient,
                                          const float* sums, float cap_lo, float cap_hi, float ratio, Ends& ends) {
    float ties[2 * DK_RANGES] = {};
#pragma unroll(QUICK ? TURNS : 1)
    for (i64 turn = 0; turn < token.turns(features); ++turn) {
        i64 first = token.first(turn);
        Pack pack = token.template pack<QUICK>(turn);
        u32 flags = DK_RANGES == 2 ? salient_bits(salient, first, token.features) : 0;
#pragma unroll
        for (int k = 0; k < DK_VEC; ++k) {
            if (first + k >= token.features) continue;
#pragma unroll
            for (int g = 0; g < DK_RANGES; ++g) {
                float seen = seen_by(g, value_of(pack, k), flags >> k & 1);
                ties[2 * g] += seen == ends.lo[g];
                ties[2 * g + 1] += seen == ends.hi[g];
            }
        }
    }
    team_reduce<2 * DK_RANGES, 0>(ties, 0, 0);
#pragma unroll
    for (int g = 0; g < DK_RANGES; ++g) {
        float reach = fmaxf(ends.hi[g], 0.0f) - (DK_SIGNED ? 0.0f : fminf(ends.lo[g], 0.0f)), gs;
        if (DK_RANGES == 2) gs = through(reach, g ? cap_hi : cap_lo, sums[g]);
        else if (DK_GROUPS == 1) gs = through(reach, cap_lo, sums[0]);
        else if (ratio > 0.0f) gs = through(reach, cap_hi, sums[DK_GROUPS - 1] + ratio * sums[0]);
        else gs = through(reach, cap_lo, sums[0]) + through(reach, cap_hi, sums[DK_GROUPS - 1]);
        ends.hi_share[g] = ends.hi[g] >= 0.0f ? gs / ties[2 * g + 1] : 0.0f;
        ends.lo_share[g] = !DK_SIGNED && ends.lo[g] <= 0.0f ? -gs / ties[2 * g] : 0.0f;
    }
}

__device__ __forceinline__ float share_of(float x, bool is_high, const Ends& ends) {
    bool second = DK_RANGES == 2 && is_high;
    float magnitude = DK_SIGNED ? fabsf(x) : x, share = 0.0f;
    // The gradient of |x| is the sign of x, 0 at 0.
    float sign = DK_SIGNED ? (float)(x > 0.0f) - (float)(x < 0.0f) : 1.0f;
    if (magnitude == (second ? ends.hi[DK_RANGES - 1] : ends.hi[0]))
        share += sign * (second ? ends.hi_share[DK_RANGES - 1] : ends.hi_share[0]);
    if (magnitude == (second ? ends.lo[DK_RANGES - 1] : ends.lo[0]))
        share += second ? ends.lo_share[DK_RANGES - 1] : ends.lo_share[0];
    return share;
}

template <bool QUICK>
__device__ __forceinline__ void backward_of(const Token& token, const Token& grads, i64 features, const u8* salient,
                                            const Group& usual, const Group& high, float ratio,
                                            x_t* out) {
    float sums[DK_GROUPS];
    Ends ends;
    sum_up<QUICK>(token, grads, features, salient, usual, high, sums, ends);
    share_out<QUICK>(token, features, salient, sums, usual.cap, high.cap, ratio, ends);
#pragma unroll(QUICK ? TURNS : 1)
    for (i64 turn = 0; turn < token.turns(features); ++turn) {
        i64 first = token.first(turn);
        Pack pack = token.template pack<QUICK>(turn), grad = grads.template pack<QUICK>(turn), back;
        u32 flags = salient_bits(salient, first, token.features);
#pragma unroll
        for (int k = 0; k < DK_VEC; ++k) {
            bool is_high = flags >> k & 1;
            float value = value_of(pack, k), result = 0.0f;
            if (fired_at<QUICK>(value, chosen(usual, high, is_high)).free) result = value_of(grad, k);
            put_value(back, k, result + share_of(value, is_high, ends));
        }
        if (first < token.features) store_pack(out, first, features, back);
    }
}

extern "C" __global__ void __launch_bounds__(DK_THREADS, 1)
    gif_backward(const x_t* __restrict__ grad, const x_t* __restrict__ x, const u8* __restrict__ salient,
                 const float* __restrict__ scale, const int* __restrict__ zero, x_t* __restrict__ out, i64 rows,
                 i64 features, float cap_lo, float cap_hi, float ratio) {
    const i64 teams = DK_THREADS / DK_TEAM;
    for (i64 r0 = blockIdx.x * teams; r0 < rows; r0 += gridDim.x * teams) {
        i64 r = r0 + threadIdx.x / DK_TEAM, at = (r < rows ? r : rows - 1) * DK_GROUPS;
        Token token = token_of(x, r, rows, features), grads = token_of(grad, r, rows, features);
        Group usual = group_with(scale[at], (float)zero[at], cap_lo), high = usual;
        if (DK_GROUPS == 2)
            high = group_with(scale[at + DK_GROUPS - 1], (float)zero[at + DK_GROUPS - 1], cap_hi);
        // The teams of one warp go the same way, for its lanes meet there.
        if (__all_sync(0xffffffffu, is_quick(usual) && is_quick(high)))
            backward_of<true>(token, grads, features, salient, usual, high, ratio, out + r * features);
        else
            backward_of<false>(token, grads, features, salient, usual, high, ratio, out + r * features);
    }
}
