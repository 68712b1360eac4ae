// Surrogate derivatives of the Heaviside step; DK_SURROGATE is the `code` in darkit_nb/functional/surrogate.py, where
// the formulas are stated. z = membrane - threshold, alpha = sharpness. Division and exponential are those of the
// hardware, off by a few units in the last place: a surrogate decides no spike.

__device__ __forceinline__ float surrogate(float z, float alpha) {
    float distance = fabsf(z);
#if DK_SURROGATE == 0
    return 1.0f;
#elif DK_SURROGATE == 1
    return distance <= 0.5f / alpha ? alpha : 0.0f;
#elif DK_SURROGATE == 2
    float height = 1.0f - alpha * distance;
    return height > 0.0f ? alpha * height : 0.0f;
#elif DK_SURROGATE == 3
    float reach = 1.5707963267948966f * alpha * z;
    return __fdividef(0.5f * alpha, 1.0f + reach * reach);
#elif DK_SURROGATE == 4
    float decay = __expf(-alpha * distance), whole = 1.0f + decay;
    return __fdividef(alpha * decay, whole * whole);
#elif DK_SURROGATE == 5
    float whole = 1.0f + alpha * distance;
    return __fdividef(1.0f, whole * whole);
#elif DK_SURROGATE == 6
    float reach = alpha * z;
    return 0.3989422804014327f * alpha * __expf(-0.5f * reach * reach);
#else
    return 0.5f * alpha * __expf(-alpha * distance);
#endif
}
