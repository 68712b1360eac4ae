// Generalised integrate-and-fire neuron over the features of one token: quantise, fire, and the gradient of both.
//
// Formula    scale = max((hi - lo) / cap, 2^-100), zero = round(-lo / scale),
//            q = clamp(round(x / scale) + zero, 0, cap), value = (q - zero) * scale; a salient feature has cap_hi and
//            another scale, unrelated or scale_lo = ratio * scale_hi. Signed: scale = max|x| / cap, no zero.
//            Backward: gx = g * m, m = 1 where q was not clamped; DK_RANGE adds gs at the maximum and -gs at the
//            minimum, ties evenly,
//            gs = sum_j g_j * ((q_j - zero) - m_j * x_j / s_j) / cap_j.
// Layout     x, grad, values [R, D] row-major in the dtype DK_X; counts [R, D] in DK_Q (0 uint8, 1 int8, 2 int16,
//            3 int32); scale float [R, G], zero int [R, G], G = 1 or 2 (normal, salient); salient, clamped 1 byte.
// Launch     one block of DK_THREADS threads per row, rows strided by the grid; 64-bit row offsets.
// Numerics   float32, IEEE division, round half to even: counts, scale and zero bit-equal to the reference. A token
//            with a NaN or infinity gets counts 0 and a NaN or infinite scale. Sums of the backward run in a fixed
//            order.
// Reference  darkit_nb/functional/gif.py: gif_encode, gif_quantise.

#include "numeric.cuh"
#include "reduce.cuh"

#if DK_Q == 0
typedef u8 q_t;
#elif DK_Q == 1
typedef signed char q_t;
#elif DK_Q == 2
typedef short q_t;
#else
typedef int q_t;
#endif

#define SCALE_FLOOR 7.888609052210118e-31f

struct Group {
    float scale, zero, cap, low;
};

// Ends of one group's range with zero inside; a feature outside the group counts as 0.
__device__ __forceinline__ void range_of(const x_t* row, const u8* salient, int member, i64 features, int is_signed,
                                         float* lo, float* hi) {
    float low = 0.0f, high = 0.0f;
    for (i64 j = threadIdx.x; j < features; j += DK_THREADS) {
        float value = load_x(row[j]);
        if (member >= 0 && salient[j] != member) continue;
        if (is_signed) value = fabsf(value);
        low = nan_min(low, value);
        high = nan_max(high, value);
    }
    *lo = is_signed ? 0.0f : block_min(low);
    *hi = block_max(high);
}

__device__ __forceinline__ float scale_of(float lo, float hi, float cap) {
    float scale = __fdiv_rn(__fsub_rn(hi, lo), cap);
    return scale < SCALE_FLOOR ? SCALE_FLOOR : scale;
}

__device__ __forceinline__ Group group_of(float lo, float scale, float cap, int is_signed) {
    float zero = rintf(__fdiv_rn(-lo, scale));
    Group group = {scale, zero != zero ? 0.0f : zero, cap, is_signed ? -cap : 0.0f};
    return group;
}

// Code before clamping.
__device__ __forceinline__ float code_of(float x, Group group) {
    return __fadd_rn(rintf(__fdiv_rn(x, group.scale)), group.zero);
}

__device__ __forceinline__ float limit(float code, Group group) {
    if (code != code) code = 0.0f;
    return code < group.low ? group.low : code > group.cap ? group.cap : code;
}

extern "C" __global__ void gif_forward(const x_t* x, const u8* salient, q_t* counts, x_t* values, u8* clamped,
                                       float* scale, int* zero, i64 rows, i64 features, float cap_lo, float cap_hi,
                                       float ratio, i64 own, i64 is_signed) {
    for (i64 r = blockIdx.x; r < rows; r += gridDim.x) {
        const x_t* row = x + r * features;
        float lo, hi, lo_hi, hi_hi;
        range_of(row, salient, own ? 0 : -1, features, is_signed, &lo, &hi);
        Group low, high;
        if (salient == 0) {
            high = low = group_of(lo, scale_of(lo, hi, cap_lo), cap_lo, is_signed);
        } else {
            lo_hi = lo, hi_hi = hi;
            if (own) range_of(row, salient, 1, features, is_signed, &lo_hi, &hi_hi);
            float scale_hi = scale_of(lo_hi, hi_hi, cap_hi);
            float scale_lo = ratio > 0.0f ? __fmul_rn(scale_hi, ratio) : scale_of(lo, hi, cap_lo);
            low = group_of(lo, scale_lo, cap_lo, is_signed);
            high = group_of(lo_hi, scale_hi, cap_hi, is_signed);
        }
        int groups = salient == 0 ? 1 : 2;
        for (int g = threadIdx.x; g < groups; g += DK_THREADS) {
            Group mine = g == 0 ? low : high;
            scale[r * groups + g] = mine.scale;
            zero[r * groups + g] = (int)mine.zero;
        }
        for (i64 j = threadIdx.x; j < features; j += DK_THREADS) {
            Group mine = salient != 0 && salient[j] ? high : low;
            float code = code_of(load_x(row[j]), mine);
            float kept = limit(code, mine);
            i64 at = r * features + j;
            if (counts != 0) counts[at] = (q_t)(int)kept;
            if (values != 0) values[at] = store_x(__fmul_rn(__fsub_rn(kept, mine.zero), mine.scale));
            if (clamped != 0) clamped[at] = !(kept == code);
        }
    }
}

#if DK_RANGE
// What the ends of one range group receive: shares per tied feature.
struct Ends {
    float lo, hi, lo_share, hi_share;
};

__device__ __forceinline__ Ends ends_of(const x_t* row, const u8* salient, int member, i64 features, int is_signed,
                                        float gs_lo, float gs_hi, float cap_lo, float cap_hi, float ratio) {
    // Unlike the range of the forward, an end is the extreme itself: where zero replaced it nothing flows.
    float low = __uint_as_float(0x7f800000u), high = -low;
    for (i64 j = threadIdx.x; j < features; j += DK_THREADS) {
        float value = member >= 0 && salient[j] != member ? 0.0f : load_x(row[j]);
        if (is_signed) value = fabsf(value);
        low = nan_min(low, value);
        high = nan_max(high, value);
    }
    Ends ends = {block_min(low), block_max(high), 0.0f, 0.0f};
    float low_ties = 0.0f, high_ties = 0.0f;
    for (i64 j = threadIdx.x; j < features; j += DK_THREADS) {
        float value = member >= 0 && salient[j] != member ? 0.0f : load_x(row[j]);
        if (is_signed) value = fabsf(value);
        low_ties += value == ends.lo;
        high_ties += value == ends.hi;
    }
    low_ties = block_sum(low_ties);
    high_ties = block_sum(high_ties);
    float reach = fmaxf(ends.hi, 0.0f) - (is_signed ? 0.0f : fminf(ends.lo, 0.0f));
    // A scale at its floor does not follow the range.
    float gs = 0.0f;
    if (ratio > 0.0f) {
        gs = __fdiv_rn(reach, cap_hi) < SCALE_FLOOR ? 0.0f : (gs_hi + ratio * gs_lo) / cap_hi;
    } else {
        if (!(__fdiv_rn(reach, cap_lo) < SCALE_FLOOR)) gs += gs_lo / cap_lo;
        if (!(__fdiv_rn(reach, cap_hi) < SCALE_FLOOR)) gs += gs_hi / cap_hi;
    }
    if (ends.hi >= 0.0f) ends.hi_share = gs / high_ties;
    if (!is_signed && ends.lo <= 0.0f) ends.lo_share = -gs / low_ties;
    return ends;
}

__device__ __forceinline__ float share_of(float x, Ends ends, int is_signed) {
    float magnitude = is_signed ? fabsf(x) : x, share = 0.0f;
    // The gradient of |x| is the sign of x, 0 at 0.
    float sign = is_signed ? (float)(x > 0.0f) - (float)(x < 0.0f) : 1.0f;
    if (magnitude == ends.hi) share += sign * ends.hi_share;
    if (magnitude == ends.lo) share += ends.lo_share;
    return share;
}
#endif

extern "C" __global__ void gif_backward(const x_t* grad, const x_t* x, const u8* salient, const float* scale,
                                        const int* zero, x_t* out, i64 rows, i64 features, float cap_lo, float cap_hi,
                                        float ratio, i64 own, i64 is_signed) {
    for (i64 r = blockIdx.x; r < rows; r += gridDim.x) {
        const x_t *row = x + r * features, *grad_row = grad + r * features;
        int groups = salient == 0 ? 1 : 2;
        i64 at = r * groups;
        Group low = {scale[at], (float)zero[at], cap_lo, is_signed ? -cap_lo : 0.0f}, high = low;
        if (groups == 2) {
            Group found = {scale[at + 1], (float)zero[at + 1], cap_hi, is_signed ? -cap_hi : 0.0f};
            high = found;
        }
#if DK_RANGE
        float sum_lo = 0.0f, sum_hi = 0.0f;
        for (i64 j = threadIdx.x; j < features; j += DK_THREADS) {
            int is_high = salient != 0 && salient[j];
            Group mine = is_high ? high : low;
            float value = load_x(row[j]), code = code_of(value, mine), kept = limit(code, mine);
            float follows = kept == code ? __fdiv_rn(value, mine.scale) : 0.0f;
            float term = load_x(grad_row[j]) * (kept - mine.zero - follows);
            if (is_high) sum_hi += term;
            else sum_lo += term;
        }
        sum_lo = block_sum(sum_lo);
        sum_hi = block_sum(sum_hi);
        Ends low_ends, high_ends;
        if (own) {
            low_ends = ends_of(row, salient, 0, features, is_signed, sum_lo, 0.0f, cap_lo, cap_hi, 0.0f);
            high_ends = ends_of(row, salient, 1, features, is_signed, 0.0f, sum_hi, cap_lo, cap_hi, 0.0f);
        } else {
            float factor = salient == 0 ? 0.0f : ratio;
            low_ends = ends_of(row, 0, -1, features, is_signed, sum_lo, sum_hi, cap_lo, cap_hi, factor);
            high_ends = low_ends;
        }
#endif
        for (i64 j = threadIdx.x; j < features; j += DK_THREADS) {
            int is_high = salient != 0 && salient[j];
            Group mine = is_high ? high : low;
            float value = load_x(row[j]), code = code_of(value, mine);
            float result = limit(code, mine) == code ? load_x(grad_row[j]) : 0.0f;
#if DK_RANGE
            result += share_of(value, is_high ? high_ends : low_ends, is_signed);
#endif
            out[r * features + j] = store_x(result);
        }
    }
}
