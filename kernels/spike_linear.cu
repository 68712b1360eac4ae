// Integer product of spike counts and weight codes.
//
// Formula    y[r, o] = (sum_g scale[r, g] * (sum_{j in g} q[r, j] * c[o, j] - zero[r, g] * sums[o, g]))
//            * weight_scale[o] + bias[o]; the zero point of a group is subtracted over the features of that group only.
//            Where scale[r, 0] is `ratio` (not 0) times scale[r, 1], the sums become one integer before they are scaled.
// Layout     counts q [R, D] in DK_Q (0 uint8, 1 int8, 2 int16, 3 int32); weight codes c [O, D] in DK_W (1 int8,
//            2 int16), centred; sums int [O, G] of c over each group; scale float [R, G], zero int [R, G];
//            salient 1 byte [D] or null for one group; y [R, O] in the dtype DK_X.
// Launch     blocks of 16 x 16 threads, one output each; grid.x strides over output tiles, grid.y over row tiles;
//            features pass through shared memory 32 at a time; 64-bit row offsets.
// Numerics   exact integer sums, in 64 bits where DK_WIDE says that 32 could overflow, then float32 with separate
//            rounding of every operation: bit-equal to the reference.
// Reference  darkit_nb/functional/spike_linear.py: spike_product.

#include "numeric.cuh"

#if DK_Q == 0
typedef u8 q_t;
#elif DK_Q == 1
typedef signed char q_t;
#elif DK_Q == 2
typedef short q_t;
#else
typedef int q_t;
#endif
#if DK_W == 1
typedef signed char w_t;
#else
typedef short w_t;
#endif
#if DK_WIDE
typedef i64 sum_t;
#else
typedef int sum_t;
#endif

#define TILE 16
#define DEPTH 32

extern "C" __global__ void spike_product(const q_t* counts, const w_t* codes, const u8* salient, const int* sums,
                                         const float* scale, const int* zero, const float* weight_scale,
                                         const float* bias, x_t* y, i64 rows, i64 features, i64 outputs,
                                         i64 ratio) {
    __shared__ q_t q_tile[TILE][DEPTH + 1];
    __shared__ w_t w_tile[TILE][DEPTH + 1];
    __shared__ u8 flag[DEPTH];
    int lane = threadIdx.x & (TILE - 1), line = threadIdx.x / TILE, groups = salient == 0 ? 1 : 2;
    for (i64 r0 = (i64)blockIdx.y * TILE; r0 < rows; r0 += (i64)gridDim.y * TILE) {
        for (i64 o0 = (i64)blockIdx.x * TILE; o0 < outputs; o0 += (i64)gridDim.x * TILE) {
            sum_t sum_lo = 0, sum_hi = 0;
            for (i64 j0 = 0; j0 < features; j0 += DEPTH) {
                for (int at = threadIdx.x; at < TILE * DEPTH; at += TILE * TILE) {
                    int i = at / DEPTH, k = at % DEPTH;
                    i64 j = j0 + k;
                    // Zeros beyond the edges add nothing.
                    q_tile[i][k] = r0 + i < rows && j < features ? counts[(r0 + i) * features + j] : (q_t)0;
                    w_tile[i][k] = o0 + i < outputs && j < features ? codes[(o0 + i) * features + j] : (w_t)0;
                    if (i == 0) flag[k] = salient != 0 && j < features && salient[j];
                }
                __syncthreads();
                for (int k = 0; k < DEPTH; ++k) {
                    sum_t product = (sum_t)q_tile[line][k] * w_tile[lane][k];
                    if (flag[k]) sum_hi += product;
                    else sum_lo += product;
                }
                __syncthreads();
            }
            i64 r = r0 + line, o = o0 + lane;
            if (r >= rows || o >= outputs) continue;
            i64 centred = (i64)sum_lo - (i64)zero[r * groups] * sums[o * groups];
            float total = __fmul_rn((float)centred, scale[r * groups]);
            if (groups == 2) {
                i64 high = (i64)sum_hi - (i64)zero[r * 2 + 1] * sums[o * 2 + 1];
                total = ratio != 0 ? __fmul_rn((float)(ratio * centred + high), scale[r * 2 + 1])
                                   : __fadd_rn(total, __fmul_rn((float)high, scale[r * 2 + 1]));
            }
            total = __fmul_rn(total, weight_scale[o]);
            y[r * outputs + o] = store_x(bias == 0 ? total : __fadd_rn(total, bias[o]));
        }
    }
}
