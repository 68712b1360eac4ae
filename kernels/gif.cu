// Generalised integrate-and-fire neuron over the features of one token: quantise and fire, in one launch.
//
// Formula    scale = max((hi - lo) / cap, 2^-100), zero = round(-lo / scale),
//            q = clamp(round(x / scale) + zero, 0, cap), value = (q - zero) * scale; a salient feature has cap_hi and
//            another scale, unrelated or scale_lo = ratio * scale_hi. Signed: scale = max|x| / cap, no zero.
// Layout     x and values [R, D] row-major in the dtype DK_X; counts [R, D] in DK_Q (0 uint8, 1 int8, 2 int16, 3 int32)
//            or [R, ceil(D/2)] bytes of two 4-bit counts, low bits first (4); clamped [R, ceil(D/8)] bytes, one bit a
//            feature; scale float [R, G], zero int [R, G], G = 1 or 2 (usual, salient); salient 1 byte [D].
//            DK_EMIT adds up what is written: 1 counts, 2 values, 4 clamped, and 8 where counts are q - zero.
// Launch     a team of DK_TEAM threads per row, blocks of DK_THREADS; rows strided by the grid; 64-bit row offsets.
// Numerics   float32, IEEE division, round half to even: counts, scale and zero bit-equal to the reference. A token
//            with a NaN or infinity gets counts 0 and a NaN or infinite scale.
// Bytes      x once; per feature what is written; per token 8 * G.
// Reference  darkit_nb/functional/gif.py: gif_encode, gif_quantise.

#include "numeric.cuh"
#include "pack.cuh"
#include "reduce.cuh"
#include "gif.cuh"

#define DK_Q_BITS (DK_Q == 4 ? 4 : DK_Q == 3 ? 32 : DK_Q == 2 ? 16 : 8)

__device__ __forceinline__ float scale_of(float lo, float hi, float cap) {
    float scale = __fdiv_rn(__fsub_rn(hi, lo), cap);
    return scale < SCALE_FLOOR ? SCALE_FLOOR : scale;
}

__device__ __forceinline__ Group group_of(float lo, float scale, float cap) {
    float zero = rintf(__fdiv_rn(-lo, scale));
    return group_with(scale, zero != zero ? 0.0f : zero, cap);
}

// Ends of the range of the usual features (or of all) and of the salient ones, zero inside; others count as 0 there.
__device__ __forceinline__ void ranges_of(const Token& token, const u8* salient, i64 features, float* lo, float* hi) {
#pragma unroll
    for (int g = 0; g < DK_RANGES; ++g) lo[g] = hi[g] = 0.0f;
#pragma unroll TURNS
    for (i64 turn = 0; turn < token.turns(features); ++turn) {
        Pack pack = token.template pack<true>(turn);
        u32 high = DK_RANGES == 2 ? salient_bits(salient, token.first(turn), token.features) : 0;
#pragma unroll
        for (int k = 0; k < DK_VEC; ++k) {
            float value = value_of(pack, k);
            if (DK_SIGNED) value = fabsf(value);
#pragma unroll
            for (int g = 0; g < DK_RANGES; ++g) {
                float inside = DK_RANGES == 1 || (high >> k & 1) == g ? value : 0.0f;
                lo[g] = nan_min(lo[g], inside);
                hi[g] = nan_max(hi[g], inside);
            }
        }
    }
    team_reduce<0, DK_RANGES>(0, lo, hi);
#pragma unroll
    for (int g = 0; g < DK_RANGES; ++g) lo[g] = DK_SIGNED ? 0.0f : lo[g];
}

template <bool QUICK>
__device__ __forceinline__ void fire(const Token& token, i64 features, const u8* salient, const Group& usual,
                                     const Group& high, u8* counts, x_t* values, u8* clamped) {
#pragma unroll(QUICK ? TURNS : 1)
    for (i64 turn = 0; turn < token.turns(features); ++turn) {
        i64 first = token.first(turn);
        Pack pack = token.template pack<QUICK>(turn), back;
        u32 flags = salient_bits(salient, first, token.features), cut = 0;
        Codes<DK_Q_BITS> codes;
#pragma unroll
        for (int k = 0; k < DK_VEC; ++k) {
            Group mine = chosen(usual, high, flags >> k & 1);
            float code = __fadd_rn(rounded<QUICK>(quotient<QUICK>(value_of(pack, k), mine)), mine.zero);
            float kept = limit<QUICK>(code, mine), level = __fsub_rn(kept, mine.zero);
            bool inside = DK_ALIGNED || first + k < token.features;
            if (inside) codes.put(k, integer<QUICK>(DK_EMIT & 8 ? level : kept));
            put_value(back, k, __fmul_rn(level, mine.scale));
            if (!(kept == code) && inside) cut |= 1u << k;
        }
        if (first < token.features) {
            if (DK_EMIT & 1) codes.store(counts, first, features);
            if (DK_EMIT & 2) store_pack(values, first, features, back);
        }
        if (DK_EMIT & 4) store_bits(clamped, first, token.features, first < token.features ? cut : 0);
    }
}

extern "C" __global__ void __launch_bounds__(DK_THREADS, 1)
    gif_forward(const x_t* __restrict__ x, const u8* __restrict__ salient, u8* __restrict__ counts,
                x_t* __restrict__ values, u8* __restrict__ clamped, float* __restrict__ scale, int* __restrict__ zero,
                i64 rows, i64 features, float cap_lo, float cap_hi, float ratio) {
    const i64 teams = DK_THREADS / DK_TEAM;
    for (i64 r0 = blockIdx.x * teams; r0 < rows; r0 += gridDim.x * teams) {
        i64 r = r0 + threadIdx.x / DK_TEAM;
        Token token = token_of(x, r, rows, features);
        float lo[DK_RANGES], hi[DK_RANGES];
        ranges_of(token, salient, features, lo, hi);
        Group usual, high;
#if DK_SALIENT == 0
        high = usual = group_of(lo[0], scale_of(lo[0], hi[0], cap_lo), cap_lo);
#else
        float scale_hi = scale_of(lo[DK_RANGES - 1], hi[DK_RANGES - 1], cap_hi);
        float scale_lo = ratio > 0.0f ? __fmul_rn(scale_hi, ratio) : scale_of(lo[0], hi[0], cap_lo);
        usual = group_of(lo[0], scale_lo, cap_lo);
        high = group_of(lo[DK_RANGES - 1], scale_hi, cap_hi);
#endif
        if (token.lane < DK_GROUPS && r < rows) {
            scale[r * DK_GROUPS + token.lane] = token.lane == 0 ? usual.scale : high.scale;
            zero[r * DK_GROUPS + token.lane] = (int)(token.lane == 0 ? usual.zero : high.zero);
        }
        u8* row_counts = DK_EMIT & 1 ? counts + r * ((features * DK_Q_BITS + 7) / 8) : 0;
        x_t* row_values = DK_EMIT & 2 ? values + r * features : 0;
        u8* row_clamped = DK_EMIT & 4 ? clamped + r * ((features + 7) / 8) : 0;
        // The teams of one warp go the same way, for its lanes meet there.
        if (__all_sync(0xffffffffu, is_quick(usual) && is_quick(high)))
            fire<true>(token, features, salient, usual, high, row_counts, row_values, row_clamped);
        else
            fire<false>(token, features, salient, usual, high, row_counts, row_values, row_clamped);
    }
}
