// Temporal neurons over S steps, backward: the membranes are computed again from the input.
//
// Formula    neuron_scan.cu's, differentiated with the surrogate DK_SURROGATE of z = h_s - threshold, or straight
//            through where 0 <= h_s / threshold <= D; DK_DETACH keeps the gradient from the spike out of the reset.
// Layout     x and the gradients of x and of the spikes [S, N] in the dtype DK_X; membranes and their gradients float
//            [N], null for zero and for not wanted. With DK_LEARN gradients of decay and threshold: float [N], or with
//            stride 0 one partial sum a block; null where not wanted.
// Launch     a thread takes DK_VEC neighbouring neurons, strided by the grid; 64-bit offsets. DK_CHUNK membranes stay
//            in registers. Of the chunks before, the first membranes are kept (DK_KEEP): 0 there are none, 1 in
//            registers, up to 8, 2 in `marks` float [ceil(S / DK_CHUNK), N].
// Numerics   float32; membranes and spikes as in the forward, gradients to rounding; sums in a fixed order.
// Bytes      x, gradient of the spikes and of x once; x once more but for the last chunk where DK_KEEP is not 0.
// Reference  autograd of darkit_nb/functional/neuron.py: neuron_scan.

#include "numeric.cuh"
#include "pack.cuh"
#define DK_TEAM DK_THREADS
#include "reduce.cuh"
#include "neuron.cuh"
#include "surrogate.cuh"

#define MARKS (DK_KEEP == 1 ? 8 : 1)

// The first membranes of chunks, in registers (selected one by one: registers have no index) or in memory.
struct Marks {
    float held[MARKS][DK_VEC];
    float* memory;

    __device__ __forceinline__ void put(i64 chunk, i64 first, i64 neurons, const float* v) {
        if (DK_KEEP == 2) store_floats(memory + chunk * neurons, first, neurons, v);
#pragma unroll
        for (int c = 0; DK_KEEP == 1 && c < MARKS; ++c)
#pragma unroll
            for (int k = 0; k < DK_VEC; ++k)
                if (c == chunk) held[c][k] = v[k];
    }

    __device__ __forceinline__ void get(i64 chunk, i64 first, i64 neurons, float* v) const {
        if (DK_KEEP == 2) load_floats(memory + chunk * neurons, first, neurons, 1, v);
#pragma unroll
        for (int c = 0; DK_KEEP == 1 && c < MARKS; ++c)
#pragma unroll
            for (int k = 0; k < DK_VEC; ++k)
                if (c == chunk) v[k] = held[c][k];
    }
};

// Gradients that arrive at one neuron, of its membrane and of its constants.
struct Gradient {
    float v, decay, threshold;
};

// One step back: takes the gradient of a spike, returns that of the input.
__device__ __forceinline__ float back(float h, float before, float g, float decay, float threshold, float max_count,
                                      float alpha, Gradient& at) {
    float fired = fire(h, threshold, max_count);
#if DK_HARD
    float gh = at.v * (1.0f - fired), spent = h;
#else
    float gh = at.v, spent = threshold;
    if (DK_LEARN) at.threshold -= fired * at.v;
#endif
    if (!DK_DETACH) g -= spent * at.v;
#if DK_INTEGER
    float level = __fdiv_rn(h, threshold);
    if (level >= 0.0f && level <= max_count) {
        gh += g / threshold;
        if (DK_LEARN) at.threshold -= g * level / threshold;
    }
#else
    float gz = g * surrogate(h - threshold, alpha);
    gh += gz;
    if (DK_LEARN) at.threshold -= gz;
#endif
    if (DK_LEARN) at.decay += gh * before;
    at.v = decay * gh;
    return gh;
}

extern "C" __global__ void __launch_bounds__(DK_THREADS, 1)
    scan_backward(const x_t* __restrict__ grad_spikes, const float* __restrict__ grad_last, const x_t* __restrict__ x,
                  const float* __restrict__ state, const float* __restrict__ decay,
                  const float* __restrict__ threshold, float* __restrict__ marks, x_t* __restrict__ grad_x,
                  float* __restrict__ grad_state, float* __restrict__ grad_decay, float* __restrict__ grad_threshold,
                  i64 steps, i64 neurons, i64 decay_stride, i64 threshold_stride, float max_count, float alpha) {
    i64 stride = (i64)gridDim.x * DK_THREADS * DK_VEC, chunks = (steps + DK_CHUNK - 1) / DK_CHUNK;
    float sums[2] = {};
    for (i64 first = ((i64)blockIdx.x * DK_THREADS + threadIdx.x) * DK_VEC; first < neurons; first += stride) {
        Neurons these = neurons_at(first, neurons, state, decay, decay_stride, threshold, threshold_stride);
        Marks marked = {};
        marked.memory = marks;
        for (i64 chunk = 0; DK_KEEP && chunk < chunks - 1; ++chunk) {
            marked.put(chunk, first, neurons, these.v);
#pragma unroll
            for (int i = 0; i < DK_CHUNK; ++i) {
                Pack pack = load_pack(x + (chunk * DK_CHUNK + i) * neurons, first, neurons);
#pragma unroll
                for (int k = 0; k < DK_VEC; ++k) {
                    float h = charge(these.v[k], these.decay[k], value_of(pack, k));
                    these.v[k] = settle(h, fire(h, these.threshold[k], max_count), these.threshold[k]);
                }
            }
        }
        Gradient at[DK_VEC] = {};
        float arriving[DK_VEC] = {};
        if (grad_last != 0) load_floats(grad_last, first, neurons, 1, arriving);
#pragma unroll
        for (int k = 0; k < DK_VEC; ++k) at[k].v = arriving[k];
        for (i64 chunk = DK_KEEP ? chunks - 1 : 0; chunk >= 0; --chunk) {
            // The last chunk starts where the sweep above ended.
            if (chunk < chunks - 1) marked.get(chunk, first, neurons, these.v);
            i64 s0 = chunk * DK_CHUNK;
            float held[DK_CHUNK][DK_VEC], begin[DK_VEC];
            Pack grads[DK_CHUNK];
#pragma unroll
            for (int k = 0; k < DK_VEC; ++k) begin[k] = these.v[k];
#pragma unroll
            for (int i = 0; i < DK_CHUNK; ++i) {
                if (s0 + i >= steps) continue;
                Pack pack = load_pack(x + (s0 + i) * neurons, first, neurons);
                grads[i] = load_pack(grad_spikes + (s0 + i) * neurons, first, neurons);
#pragma unroll
                for (int k = 0; k < DK_VEC; ++k) {
                    held[i][k] = charge(these.v[k], these.decay[k], value_of(pack, k));
                    float fired = fire(held[i][k], these.threshold[k], max_count);
                    these.v[k] = settle(held[i][k], fired, these.threshold[k]);
                }
            }
#pragma unroll
            for (int i = DK_CHUNK - 1; i >= 0; --i) {
                if (s0 + i >= steps) continue;
                Pack made;
#pragma unroll
                for (int k = 0; k < DK_VEC; ++k) {
                    float theta = these.threshold[k], earlier = held[i - (i > 0)][k];
                    float before = i == 0 ? begin[k] : settle(earlier, fire(earlier, theta, max_count), theta);
                    float g = value_of(grads[i], k);
                    put_value(made, k, back(held[i][k], before, g, these.decay[k], theta, max_count, alpha, at[k]));
                }
                store_pack(grad_x + (s0 + i) * neurons, first, neurons, made);
            }
        }
        float of_state[DK_VEC], of_decay[DK_VEC], of_threshold[DK_VEC];
#pragma unroll
        for (int k = 0; k < DK_VEC; ++k) {
            of_state[k] = at[k].v, of_decay[k] = at[k].decay, of_threshold[k] = at[k].threshold;
            sums[0] += at[k].decay, sums[1] += at[k].threshold;
        }
        if (grad_state != 0) store_floats(grad_state, first, neurons, of_state);
        if (DK_LEARN && grad_decay != 0 && decay_stride != 0) store_floats(grad_decay, first, neurons, of_decay);
        if (DK_LEARN && grad_threshold != 0 && threshold_stride != 0)
            store_floats(grad_threshold, first, neurons, of_threshold);
    }
#if DK_LEARN
    team_reduce<2, 0>(sums, 0, 0);
    if (threadIdx.x == 0 && grad_decay != 0 && decay_stride == 0) grad_decay[blockIdx.x] = sums[0];
    if (threadIdx.x == 0 && grad_threshold != 0 && threshold_stride == 0) grad_threshold[blockIdx.x] = sums[1];
#endif
}
