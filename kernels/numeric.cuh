// Numbers without headers: NVRTC and the CuPy wheel ship neither cuda_fp16.h nor cuda_bf16.h nor stdint.h.
//
// Every load becomes float32 and every store rounds half to even, so that all arithmetic is float32 whatever the dtype.
// DK_X selects the dtype of activations: 0 float32, 1 float16, 2 bfloat16. Where the GPU converts by an instruction
// that needs no header it does (PTX); the arithmetic beside it gives the same bits, elsewhere and in the tests.
// IEEE operations are written as intrinsics: a compiler flag must not turn x / s into x * (1 / s) or fuse a product.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef long long i64;

#if DK_X == 0
typedef float x_t;
#define DK_X_BYTES 4
#else
typedef u16 x_t;
#define DK_X_BYTES 2
#endif

#if defined(__CUDA_ARCH__) && !defined(DK_CPU)
#define DK_PTX __CUDA_ARCH__
#else
#define DK_PTX 0
#endif

#if DK_X == 0
__device__ __forceinline__ float load_x(x_t bits) { return bits; }
__device__ __forceinline__ x_t store_x(float value) { return value; }
#elif DK_X == 1 && DK_PTX
__device__ __forceinline__ float load_x(x_t bits) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}
__device__ __forceinline__ x_t store_x(float value) {
    x_t bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}
#elif DK_X == 1
__device__ __forceinline__ float load_x(x_t bits) {
    u32 sign = (u32)(bits & 0x8000u) << 16, magnitude = bits & 0x7fffu;
    if (magnitude >= 0x7c00u) return __uint_as_float(sign | 0x7f800000u | ((magnitude & 0x3ffu) << 13));
    if (magnitude >= 0x0400u) return __uint_as_float(sign | ((magnitude << 13) + 0x38000000u));
    // Subnormal: magnitude counts units of 2^-24.
    float value = __fmul_rn((float)magnitude, 5.9604644775390625e-8f);
    return __uint_as_float(sign | __float_as_uint(value));
}
__device__ __forceinline__ x_t store_x(float value) {
    u32 bits = __float_as_uint(value), sign = (bits >> 16) & 0x8000u, magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return (x_t)(sign | 0x7e00u);
    if (magnitude >= 0x477ff000u) return (x_t)(sign | 0x7c00u);  // 65520 and more round to infinity
    if (magnitude >= 0x38800000u) {
        u32 shifted = magnitude - 0x38000000u;
        return (x_t)(sign | ((shifted + 0x0fffu + ((shifted >> 13) & 1u)) >> 13));
    }
    // Subnormal result: adding 0.5 leaves the value in units of 2^-24 in the low bits, rounded half to even.
    return (x_t)(sign | (__float_as_uint(__fadd_rn(__uint_as_float(magnitude), 0.5f)) - 0x3f000000u));
}
#else
__device__ __forceinline__ float load_x(x_t bits) { return __uint_as_float((u32)bits << 16); }
__device__ __forceinline__ x_t store_x(float value) {
#if DK_PTX >= 800
    x_t rounded;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(rounded) : "f"(value));
    return rounded;
#else
    u32 bits = __float_as_uint(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (x_t)((bits >> 16) | 0x40u);
    return (x_t)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
#endif
}
#endif

// torch.amin and amax hand a NaN on; fminf and fmaxf drop it.
#if DK_PTX >= 800
__device__ __forceinline__ float nan_min(float a, float b) {
    float least;
    asm("min.NaN.f32 %0, %1, %2;" : "=f"(least) : "f"(a), "f"(b));
    return least;
}
__device__ __forceinline__ float nan_max(float a, float b) {
    float most;
    asm("max.NaN.f32 %0, %1, %2;" : "=f"(most) : "f"(a), "f"(b));
    return most;
}
#else
__device__ __forceinline__ float nan_min(float a, float b) { return (a < b || a != a) ? a : b; }
__device__ __forceinline__ float nan_max(float a, float b) { return (a > b || a != a) ? a : b; }
#endif
