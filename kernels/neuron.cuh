// One step of a temporal neuron; DK_INTEGER fires up to max_count spikes, DK_HARD resets to zero.

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

// DK_VEC neighbouring neurons of one thread.
struct Neurons {
    float v[DK_VEC], decay[DK_VEC], threshold[DK_VEC];
};

__device__ __forceinline__ Neurons neurons_at(i64 first, i64 neurons, const float* state, const float* decay,
                                              i64 decay_stride, const float* threshold, i64 threshold_stride) {
    Neurons these = {};
    if (state != 0) load_floats(state, first, neurons, 1, these.v);
    load_floats(decay, first, neurons, decay_stride, these.decay);
    load_floats(threshold, first, neurons, threshold_stride, these.threshold);
    return these;
}
