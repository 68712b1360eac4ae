// Gradient of quantise-and-fire with the range held constant, from one saved bit a feature.
//
// Formula    out = grad where the bit of the feature is 0, else 0.
// Layout     grad, out [R, D] row-major in the dtype DK_X; clamped [R, ceil(D/8)] bytes, low bits first.
// Launch     blocks of DK_THREADS threads, one per row and span of packs; rows strided by the grid's y.
// Numerics   exact.
// Bytes      grad once, out once, one bit a feature.
// Reference  darkit_nb/ops/gif.py: clip_gradient.

#include "numeric.cuh"
#include "pack.cuh"

extern "C" __global__ void __launch_bounds__(DK_THREADS, 1)
    gif_clip(const x_t* __restrict__ grad, const u8* __restrict__ clamped, x_t* __restrict__ out, i64 rows,
             i64 features) {
    i64 first = ((i64)blockIdx.x * DK_THREADS + threadIdx.x) * DK_VEC;
    if (first >= features) return;
    for (i64 r = blockIdx.y; r < rows; r += gridDim.y) {
        Pack pack = load_pack(grad + r * features, first, features);
        u32 cut = clamped[r * ((features + 7) / 8) + first / 8] >> first % 8;
#pragma unroll
        for (int k = 0; k < DK_VEC; ++k)
            if (cut >> k & 1) put_value(pack, k, 0.0f);
        store_pack(out + r * features, first, features, pack);
    }
}
