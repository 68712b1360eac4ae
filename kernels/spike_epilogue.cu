// What follows an integer product of spikes and weights: shift, zero points, scales and bias, in one pass over the sums.
//
// Formula    n = sums[r, o] + shift * (low + high)[o] - ratio * zero[r, 0] * low[o] - zero[r, 1] * high[o],
//            y[r, o] = n * scale[r, pick] * weight_scale[o] + bias[o].
// Layout     sums int [R, O] with rows `stride` apart; low, high int [O], sums of the codes of the weights over usual
//            and over salient features, high null for one group; scale float and zero int [R, G]; weight_scale and bias
//            float [O], bias null for none; y [R, O] in the dtype DK_X.
// Launch     a thread takes DK_VEC neighbouring outputs of some rows: blocks of DK_THREADS, grid.x over outputs, rows
//            strided by grid.y; 64-bit row offsets.
// Numerics   n exact in 32 bits (the host sees to it that they hold it; on the way sums may wrap), then float32 with
//            separate rounding of every operation: bit-equal to the reference; then rounded to DK_X.
// Bytes      4 an output, and that of y.
// Reference  darkit_nb/functional/spike_linear.py: spike_product.

#include "numeric.cuh"
#include "pack.cuh"

__device__ __forceinline__ void load_ints(const int* from, i64 first, i64 end, u32* values) {
#if DK_ALIGNED
    load_words<DK_VEC * 4>(from + first, values);
#else
#pragma unroll
    for (int k = 0; k < DK_VEC; ++k) values[k] = first + k < end ? (u32)from[first + k] : 0u;
#endif
}

extern "C" __global__ void __launch_bounds__(DK_THREADS, 1)
    spike_epilogue(const int* __restrict__ sums, const float* __restrict__ scale, const int* __restrict__ zero,
                   const int* __restrict__ low, const int* __restrict__ high, const float* __restrict__ weight_scale,
                   const float* __restrict__ bias, x_t* __restrict__ y, i64 rows, i64 outputs, i64 stride, i64 groups,
                   i64 pick, i64 ratio, i64 shift) {
    i64 first = ((i64)blockIdx.x * DK_THREADS + threadIdx.x) * DK_VEC;
    if (first >= outputs) return;
    u32 lows[DK_VEC], highs[DK_VEC] = {};
    float units[DK_VEC], offsets[DK_VEC] = {};
    load_ints(low, first, outputs, lows);
    if (high != 0) load_ints(high, first, outputs, highs);
    load_floats(weight_scale, first, outputs, 1, units);
    if (bias != 0) load_floats(bias, first, outputs, 1, offsets);
    for (i64 r = blockIdx.y; r < rows; r += gridDim.y) {
        u32 zero_low = (u32)zero[r * groups] * (u32)ratio, zero_high = high != 0 ? (u32)zero[r * groups + 1] : 0u;
        float unit = scale[r * groups + pick];
        u32 found[DK_VEC];
        load_ints(sums + r * stride, first, outputs, found);
        Pack pack;
#pragma unroll
        for (int k = 0; k < DK_VEC; ++k) {
            u32 n = found[k] + (u32)shift * (lows[k] + highs[k]) - zero_low * lows[k] - zero_high * highs[k];
            float value = __fmul_rn(__fmul_rn((float)(int)n, unit), units[k]);
            put_value(pack, k, bias != 0 ? __fadd_rn(value, offsets[k]) : value);
        }
        store_pack(y + r * outputs, first, outputs, pack);
    }
}
