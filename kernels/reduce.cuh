// Sums and extremes over a block of DK_THREADS threads (a multiple of 32, at most 1024).
//
// Lanes meet by shuffle, warps through shared memory; every thread returns the result. The order is fixed, so sums are
// the same from run to run. The barrier at the end lets the next reduction write the shared slots again.

#define DK_WARPS (DK_THREADS / 32)

#define DK_BLOCK_REDUCE(NAME, COMBINE)                                                    \
    __device__ __forceinline__ float NAME(float value) {                                  \
        __shared__ float slots[DK_WARPS];                                                 \
        for (int step = 16; step > 0; step >>= 1) {                                       \
            float other = __shfl_xor_sync(0xffffffffu, value, step);                      \
            value = COMBINE(value, other);                                                \
        }                                                                                 \
        if ((threadIdx.x & 31) == 0) slots[threadIdx.x >> 5] = value;                     \
        __syncthreads();                                                                  \
        value = slots[0];                                                                 \
        for (int warp = 1; warp < DK_WARPS; ++warp) value = COMBINE(value, slots[warp]);  \
        __syncthreads();                                                                  \
        return value;                                                                     \
    }

DK_BLOCK_REDUCE(block_sum, __fadd_rn)
DK_BLOCK_REDUCE(block_min, nan_min)
DK_BLOCK_REDUCE(block_max, nan_max)
