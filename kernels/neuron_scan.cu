// Temporal neurons (IF, LIF, PLIF, integer-firing LIF) over S steps, forward.
//
// Formula    h_s = decay * v + x_s; spikes_s = (h_s >= threshold), or round(clamp(h_s / threshold, 0, D)) when
//            DK_INTEGER; v = h_s - threshold * spikes_s (soft), v = h_s * (1 - spikes_s) when DK_HARD.
// Layout     x [S, N] in the dtype DK_X; spikes [S, N] in that dtype or in bytes (DK_OUT 1), or [S, ceil(N/8)] bytes of
//            one bit a neuron, low bits first (DK_OUT 2); membranes float [N], null for rest and for not wanted; decay
//            and threshold float [N] with stride 1, or one number with stride 0.
// Launch     a thread takes DK_VEC neighbouring neurons, strided by the grid; 64-bit offsets.
// Numerics   float32 state, products and sums rounded separately: spikes and membranes bit-equal to the reference.
//            As bytes or bits a NaN is no spike.
// Bytes      x and spikes once, membranes once per S steps.
// Reference  darkit_nb/functional/neuron.py: neuron_scan.

#include "numeric.cuh"
#include "pack.cuh"
#include "neuron.cuh"

// Loads of so many steps are on their way together.
#define AHEAD 4

__device__ __forceinline__ void store_spikes(void* spikes, i64 step, i64 first, i64 neurons, const float* fired) {
#if DK_OUT == 0
    Pack pack;
#pragma unroll
    for (int k = 0; k < DK_VEC; ++k) put_value(pack, k, fired[k]);
    store_pack((x_t*)spikes + step * neurons, first, neurons, pack);
#else
    const int bits = DK_OUT == 1 ? 8 : 1;
    Codes<bits> codes;
#pragma unroll
    for (int k = 0; k < DK_VEC; ++k)
        if (fired[k] > 0.0f && first + k < neurons) codes.put(k, DK_INTEGER && DK_OUT == 1 ? (u32)(int)fired[k] : 1);
    codes.store((u8*)spikes + step * ((neurons * bits + 7) / 8), first, neurons);
#endif
}

extern "C" __global__ void __launch_bounds__(DK_THREADS, 1)
    scan_forward(const x_t* __restrict__ x, const float* __restrict__ state, const float* __restrict__ decay,
                 const float* __restrict__ threshold, void* __restrict__ spikes, float* __restrict__ last, i64 steps,
                 i64 neurons, i64 decay_stride, i64 threshold_stride, float max_count) {
    i64 stride = (i64)gridDim.x * DK_THREADS * DK_VEC;
    for (i64 first = ((i64)blockIdx.x * DK_THREADS + threadIdx.x) * DK_VEC; first < neurons; first += stride) {
        Neurons these = neurons_at(first, neurons, state, decay, decay_stride, threshold, threshold_stride);
        for (i64 s0 = 0; s0 < steps; s0 += AHEAD) {
            Pack packs[AHEAD];
#pragma unroll
            for (int i = 0; i < AHEAD; ++i)
                if (s0 + i < steps) packs[i] = load_pack(x + (s0 + i) * neurons, first, neurons);
#pragma unroll
            for (int i = 0; i < AHEAD; ++i) {
                if (s0 + i >= steps) continue;
                float fired[DK_VEC];
#pragma unroll
                for (int k = 0; k < DK_VEC; ++k) {
                    float h = charge(these.v[k], these.decay[k], value_of(packs[i], k));
                    fired[k] = fire(h, these.threshold[k], max_count);
                    these.v[k] = settle(h, fired[k], these.threshold[k]);
                }
                store_spikes(spikes, s0 + i, first, neurons, fired);
            }
        }
        if (last != 0) store_floats(last, first, neurons, these.v);
    }
}
