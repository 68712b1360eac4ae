// Spike counts of a few tokens times packed weights: what decoding one token takes, bound by the bytes of the weights.
//
// Formula    y[r, o] = sum_g weight_scale[o, g] * t[r, o, g] + bias[o], groups g in their order, with the integers
//            n_k = sum over features j of g and kind k (usual, salient) of (q[r, j] - zero[r, k]) * c[o, j] and
//            t = scale[r, 1] * (ratio * n_0 + n_1) where `ratio` is not 0, else sum_k scale[r, k] * n_k;
//            c = spacing * u - weight_zero[o, g], u the DK_BITS (1, 2, 4, 8) packed bits.
// Layout     counts [R, D] bytes, signed with DK_SIGNED; packed [O, ceil(D * DK_BITS / 8)] bytes, low bits first;
//            salient 1 byte [D] (DK_SALIENT 1); scale float and zero int [R, K], K = 1 or 2; weight_scale float,
//            weight_zero int and low, high int (sums of c over the usual and the salient features) [O, G],
//            G = DK_GROUPS groups of group_size features; y [R, O] in the dtype DK_X.
// Launch     a warp takes DK_OUTS outputs and DK_TOKENS tokens, 16 bytes of every weight row a lane and turn; grid.x
//            over outputs, grid.y over tokens. A group is a multiple of the features in 16 bytes, or the whole row.
// Numerics   exact integer sums, each product summed in 32 bits (the host sees to it that they hold it), then float32
//            with separate rounding of every operation: bit-equal to the reference.
// Bytes      the packed weights once; counts come from the cache after the first warp.
// Reference  darkit_nb/functional/spike_linear.py: spike_product.

#define DK_VEC 1
#include "numeric.cuh"
#include "pack.cuh"

#define WARPS (DK_THREADS / 32)
#define EACH (32 / DK_BITS)  // codes in a word
#define CHUNK (4 * EACH)     // features of 16 bytes
#define KINDS (DK_SALIENT + 1)
#define FOUR_ONES 0x01010101u

__device__ __forceinline__ u32 dot(u32 counts, u32 codes, u32 sum) {
#if DK_SIGNED
    return (u32)__dp4a((int)counts, (int)codes, (int)sum);
#else
    return __dp4a(counts, codes, sum);
#endif
}

// 16 bytes of a weight row, or what is left of it.
__device__ __forceinline__ void load_codes(const u8* row, i64 first, i64 bytes, u32* words) {
#if DK_ALIGNED
    load_words<16>(row + first, words);
#else
    for (int i = 0; i < 4; ++i) words[i] = 0;
    for (int i = 0; i < 16; ++i)
        if (first + i < bytes) words[i / 4] |= (u32)row[first + i] << (8 * (i % 4));
#endif
}

// EACH bytes from a row of bytes: those of one word of codes. Features beyond the end count as 0.
__device__ __forceinline__ void load_bytes(const u8* row, i64 first, i64 end, u32* words) {
#if DK_ALIGNED
    load_words<EACH>(row + first, words);
#else
    for (int i = 0; i < EACH / 4; ++i) words[i] = 0;
    for (int i = 0; i < EACH; ++i)
        if (first + i < end) words[i / 4] |= (u32)row[first + i] << (8 * (i % 4));
#endif
}

// Bytes s, s + c, s + 2c, s + 3c, c codes a byte: what meets the codes at place s of the four bytes of a word.
__device__ __forceinline__ u32 gathered(const u32* words, int s) {
    const int c = 8 / DK_BITS;
    if (c == 1) return words[0];
    u32 low = __byte_perm(words[s / 4], words[(s + c) / 4], s % 4 | ((s + c) % 4 + 4) << 4);
    int third = s + 2 * c, fourth = s + 3 * c;
    u32 high = __byte_perm(words[third / 4], words[fourth / 4], third % 4 | (fourth % 4 + 4) << 4);
    return __byte_perm(low, high, 0x5410);
}

__device__ __forceinline__ u32 warp_sum(u32 value) {
#pragma unroll
    for (int step = 16; step > 0; step >>= 1) value += __shfl_xor_sync(0xffffffffu, value, step);
    return value;
}

// Products of one lane with 16 bytes of each row: sums[i][t] over the features of kind k, the last i sums counts alone.
struct Sums {
    u32 of[KINDS][DK_OUTS + 1][DK_TOKENS];
};

__device__ __forceinline__ void add_chunk(const u8* counts, const u8* packed, const u8* salient, i64 chunk, i64 row,
                                          i64 rows, i64 features, i64 output, i64 outputs, Sums& sums) {
    i64 bytes = (features * DK_BITS + 7) / 8;
    u32 codes[DK_OUTS][4] = {};
#pragma unroll
    for (int i = 0; i < DK_OUTS; ++i)
        if (output + i < outputs) load_codes(packed + (output + i) * bytes, chunk * 16, bytes, codes[i]);
#pragma unroll
    for (int word = 0; word < 4; ++word) {
        i64 first = chunk * CHUNK + word * EACH;
        u32 flags[(EACH + 3) / 4] = {};
        if (DK_SALIENT) load_bytes(salient, first, features, flags);
#pragma unroll
        for (int t = 0; t < DK_TOKENS; ++t) {
            if (row + t >= rows) continue;
            u32 found[(EACH + 3) / 4];
            load_bytes(counts + (row + t) * features, first, features, found);
#pragma unroll
            for (int s = 0; s < 8 / DK_BITS; ++s) {
                u32 every = gathered(found, s), high = DK_SALIENT ? every & gathered(flags, s) * 255u : 0;
#pragma unroll
                for (int i = 0; i <= DK_OUTS; ++i) {
                    u32 four = codes[i % DK_OUTS][word] >> (s * DK_BITS) & FOUR_ONES * ((1u << DK_BITS) - 1);
                    if (i == DK_OUTS) four = FOUR_ONES;
                    sums.of[0][i][t] = dot(every, four, sums.of[0][i][t]);
                    if (DK_SALIENT) sums.of[DK_SALIENT][i][t] = dot(high, four, sums.of[DK_SALIENT][i][t]);
                }
            }
        }
    }
}

extern "C" __global__ void __launch_bounds__(DK_THREADS, 1)
    packed_matvec(const u8* __restrict__ counts, const u8* __restrict__ packed, const u8* __restrict__ salient,
                  const float* __restrict__ scale, const int* __restrict__ zero, const float* __restrict__ weight_scale,
                  const int* __restrict__ weight_zero, const int* __restrict__ low, const int* __restrict__ high,
                  const float* __restrict__ bias, x_t* __restrict__ y, i64 rows, i64 features, i64 outputs,
                  i64 group_size, i64 spacing, i64 ratio) {
    __shared__ u32 totals[WARPS][KINDS][DK_OUTS + 1][DK_TOKENS][DK_GROUPS];
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    u32* mine = &totals[warp][0][0][0][0];
    const int cells = KINDS * (DK_OUTS + 1) * DK_TOKENS;
    i64 output = ((i64)blockIdx.x * WARPS + warp) * DK_OUTS, row = (i64)blockIdx.y * DK_TOKENS;
    for (int cell = lane; cell < cells * DK_GROUPS; cell += 32) mine[cell] = 0;
    __syncwarp();
    Sums sums = {};
    for (i64 chunk = lane; chunk * CHUNK < features; chunk += 32) {
        add_chunk(counts, packed, salient, chunk, row, rows, features, output, outputs, sums);
        if (DK_GROUPS == 1) continue;
        // Integers: the order of additions does not matter.
        int group = (int)chunk / ((int)group_size / CHUNK);
        for (int cell = 0; cell < cells; ++cell) atomicAdd(&mine[cell * DK_GROUPS + group], (&sums.of[0][0][0])[cell]);
        sums = {};
    }
    if (DK_GROUPS == 1)
#pragma unroll
        for (int cell = 0; cell < cells; ++cell) {
            u32 sum = warp_sum((&sums.of[0][0][0])[cell]);
            if (lane == 0) mine[cell] = sum;
        }
    __syncwarp();
    for (int pair = lane; pair < DK_OUTS * DK_TOKENS; pair += 32) {
        int i = pair / DK_TOKENS, t = pair % DK_TOKENS;
        i64 o = output + i, r = row + t;
        if (o >= outputs || r >= rows) continue;
        float sum = 0.0f;
        for (int g = 0; g < DK_GROUPS; ++g) {
            i64 at = o * DK_GROUPS + g, n[KINDS];
            for (int k = 0; k < KINDS; ++k) {
                i64 products = (int)totals[warp][k][i][t][g], alone = (int)totals[warp][k][DK_OUTS][t][g];
                n[k] = spacing * products - weight_zero[at] * alone;
            }
            n[0] -= KINDS == 2 ? n[KINDS - 1] : 0;  // the first sums are of all features
            n[0] -= (i64)zero[r * KINDS] * low[at];
            float total = __fmul_rn((float)n[0], scale[r * KINDS]);
            if (KINDS == 2) {
                n[KINDS - 1] -= (i64)zero[r * KINDS + KINDS - 1] * high[at];
                float salient_scale = scale[r * KINDS + KINDS - 1];
                total = ratio != 0 ? __fmul_rn((float)(ratio * n[0] + n[KINDS - 1]), salient_scale)
                                   : __fadd_rn(total, __fmul_rn((float)n[KINDS - 1], salient_scale));
            }
            sum = __fadd_rn(sum, __fmul_rn(total, weight_scale[at]));
        }
        y[r * outputs + o] = store_x(bias == 0 ? sum : __fadd_rn(sum, bias[o]));
    }
}
