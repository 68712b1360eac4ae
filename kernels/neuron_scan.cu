// Temporal neurons (IF, LIF, PLIF, integer-firing LIF) over S steps: forward, and the backward that recomputes.
//
// Formula    h_s = decay * v + x_s; spikes_s = (h_s >= threshold), or round(clamp(h_s / threshold, 0, D)) when
//            DK_INTEGER; v = h_s - threshold * spikes_s (soft), v = h_s * (1 - spikes_s) when DK_HARD.
//            Backward by the surrogate DK_SURROGATE of z = h_s - threshold, or straight through where
//            0 <= h_s / threshold <= D; DK_DETACH keeps the gradient from the spike out of the reset.
// Layout     x, spikes, gradients of both [S, N] in the dtype DK_X; membranes float [N]; decay and threshold float [N]
//            with stride 1, or one number with stride 0; their gradients float [N]; checkpoints float [ceil(S/8), N].
// Launch     one thread per neuron, neurons strided by the grid; 64-bit offsets. The backward keeps 8 membranes in
//            registers; beyond 8 steps it first writes every eighth membrane to `checkpoints`.
// Numerics   float32 state, products and sums rounded separately: spikes and membranes bit-equal to the reference.
// Reference  darkit_nb/functional/neuron.py: neuron_scan.

#include "numeric.cuh"
#include "surrogate.cuh"

#define CHUNK 8

__device__ __forceinline__ float charge(float v, float decay, float x) { return __fadd_rn(__fmul_rn(decay, v), x); }

__device__ __forceinline__ float fire(float h, float threshold, float max_count) {
#if DK_INTEGER
    float level = __fdiv_rn(h, threshold);
    // A NaN stays one, as in the reference.
    return rintf(level < 0.0f ? 0.0f : level > max_count ? max_count : level);
#else
    return h >= threshold ? 1.0f : 0.0f;
#endif
}

__device__ __forceinline__ float settle(float h, float fired, float threshold) {
#if DK_HARD
    return __fmul_rn(h, __fsub_rn(1.0f, fired));
#else
    return __fsub_rn(h, __fmul_rn(threshold, fired));
#endif
}

extern "C" __global__ void scan_forward(const x_t* x, const float* state, const float* decay, const float* threshold,
                                        x_t* spikes, float* last, i64 steps, i64 neurons, i64 decay_stride,
                                        i64 threshold_stride, float max_count) {
    i64 stride = (i64)gridDim.x * blockDim.x;
    for (i64 n = (i64)blockIdx.x * blockDim.x + threadIdx.x; n < neurons; n += stride) {
        float beta = decay[n * decay_stride], theta = threshold[n * threshold_stride], v = state[n];
        for (i64 s = 0; s < steps; ++s) {
            float h = charge(v, beta, load_x(x[s * neurons + n]));
            float fired = fire(h, theta, max_count);
            spikes[s * neurons + n] = store_x(fired);
            v = settle(h, fired, theta);
        }
        last[n] = v;
    }
}

extern "C" __global__ void scan_backward(const x_t* grad_spikes, const float* grad_last, const x_t* x,
                                         const float* state, const float* decay, const float* threshold,
                                         float* checkpoints, x_t* grad_x, float* grad_state, float* grad_decay,
                                         float* grad_threshold, i64 steps, i64 neurons, i64 decay_stride,
                                         i64 threshold_stride, float max_count, float alpha) {
    i64 stride = (i64)gridDim.x * blockDim.x;
    for (i64 n = (i64)blockIdx.x * blockDim.x + threadIdx.x; n < neurons; n += stride) {
        float beta = decay[n * decay_stride], theta = threshold[n * threshold_stride], v = state[n];
        i64 chunks = (steps + CHUNK - 1) / CHUNK;
        for (i64 s = 0; chunks > 1 && s < (chunks - 1) * CHUNK; ++s) {
            if (s % CHUNK == 0) checkpoints[s / CHUNK * neurons + n] = v;
            float h = charge(v, beta, load_x(x[s * neurons + n]));
            v = settle(h, fire(h, theta, max_count), theta);
        }
        float gv = grad_last[n], g_decay = 0.0f, g_theta = 0.0f;
        for (i64 chunk = chunks - 1; chunk >= 0; --chunk) {
            // The last chunk starts where the sweep above ended.
            if (chunk < chunks - 1) v = checkpoints[chunk * neurons + n];
            float before[CHUNK], held[CHUNK];
#pragma unroll
            for (int k = 0; k < CHUNK; ++k) {
                i64 s = chunk * CHUNK + k;
                before[k] = v;
                held[k] = 0.0f;
                if (s < steps) {
                    held[k] = charge(v, beta, load_x(x[s * neurons + n]));
                    v = settle(held[k], fire(held[k], theta, max_count), theta);
                }
            }
#pragma unroll
            for (int k = CHUNK - 1; k >= 0; --k) {
                i64 s = chunk * CHUNK + k;
                if (s >= steps) continue;
                float h = held[k], fired = fire(h, theta, max_count), g = load_x(grad_spikes[s * neurons + n]);
#if DK_HARD
                float gh = gv * (1.0f - fired), spent = h;
#else
                float gh = gv, spent = theta;
                g_theta -= fired * gv;
#endif
                if (!DK_DETACH) g -= spent * gv;
#if DK_INTEGER
                float level = __fdiv_rn(h, theta);
                if (level >= 0.0f && level <= max_count) {
                    gh += g / theta;
                    g_theta -= g * level / theta;
                }
#else
                float gz = g * surrogate(h - theta, alpha);
                gh += gz;
                g_theta -= gz;
#endif
                g_decay += gh * before[k];
                grad_x[s * neurons + n] = store_x(gh);
                gv = beta * gh;
            }
        }
        grad_state[n] = gv;
        if (grad_decay != 0) grad_decay[n] = g_decay;
        if (grad_threshold != 0) grad_threshold[n] = g_theta;
    }
}
