// Sums and extremes over a team of DK_TEAM threads (a power of two, 8 to 1024), one or several in a block.
//
// Lanes meet by shuffle; a team larger than a warp is a block of its own, and its warps meet through shared memory.
// Every thread gets the results. The order is fixed, so sums are the same from run to run. All threads of a block come
// here together. The barrier at the end lets the next reduction write the shared slots again.

#define DK_LANES (DK_TEAM < 32 ? DK_TEAM : 32)
#define DK_WARPS (DK_TEAM / DK_LANES)

template <int SUMS, int PAIRS, int WIDTH>
__device__ __forceinline__ void shuffle_reduce(float* sums, float* low, float* high) {
#pragma unroll
    for (int step = WIDTH / 2; step > 0; step >>= 1) {
#pragma unroll
        for (int i = 0; i < SUMS; ++i) sums[i] = __fadd_rn(sums[i], __shfl_xor_sync(0xffffffffu, sums[i], step));
#pragma unroll
        for (int i = 0; i < PAIRS; ++i) {
            low[i] = nan_min(low[i], __shfl_xor_sync(0xffffffffu, low[i], step));
            high[i] = nan_max(high[i], __shfl_xor_sync(0xffffffffu, high[i], step));
        }
    }
}

// SUMS sums, PAIRS minima and PAIRS maxima.
template <int SUMS, int PAIRS>
__device__ __forceinline__ void team_reduce(float* sums, float* low, float* high) {
    shuffle_reduce<SUMS, PAIRS, DK_LANES>(sums, low, high);
#if DK_WARPS > 1
    __shared__ float slots[SUMS + 2 * PAIRS][DK_WARPS];
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    if (lane == 0) {
#pragma unroll
        for (int i = 0; i < SUMS; ++i) slots[i][warp] = sums[i];
#pragma unroll
        for (int i = 0; i < PAIRS; ++i) slots[SUMS + i][warp] = low[i], slots[SUMS + PAIRS + i][warp] = high[i];
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < SUMS; ++i) sums[i] = slots[i][lane % DK_WARPS];
#pragma unroll
    for (int i = 0; i < PAIRS; ++i) {
        low[i] = slots[SUMS + i][lane % DK_WARPS];
        high[i] = slots[SUMS + PAIRS + i][lane % DK_WARPS];
    }
    shuffle_reduce<SUMS, PAIRS, DK_WARPS>(sums, low, high);
    __syncthreads();
#endif
}
