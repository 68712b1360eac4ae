// What the kernels of the GIF neuron share: a token held by its team of threads, and the code of one feature.
//
// DK_HOLD packs of DK_VEC features stay in the registers of each of DK_TEAM threads, so that a token is read once; with
// DK_HOLD 0 a token longer than that is read again, mostly from the cache. DK_SALIENT: 0 no feature is salient, 1
// salient ones share the range of the token, 2 they have one of their own. DK_SIGNED: spikes of both signs, no zero.

#define SCALE_FLOOR 7.888609052210118e-31f
#define QUICK_SCALE 1.2676506002282294e30f
#define ROUNDER 12582912.0f
#define ROUNDER_BITS 0x4b400000u
constexpr int TURNS = DK_HOLD ? DK_HOLD : 2;  // unrolled
#define DK_RANGES (DK_SALIENT == 2 ? 2 : 1)
#define DK_GROUPS (DK_SALIENT == 0 ? 1 : 2)

struct Token {
    const x_t* row;
    i64 features;
    int lane;
#if DK_HOLD
    Pack held[DK_HOLD];
#endif

    // The same for all threads, so that they meet in shuffles.
    __device__ __forceinline__ i64 turns(i64 whole) const {
        return DK_HOLD ? DK_HOLD : (whole + (i64)DK_TEAM * DK_VEC - 1) / ((i64)DK_TEAM * DK_VEC);
    }

    __device__ __forceinline__ i64 first(i64 turn) const { return (turn * DK_TEAM + lane) * DK_VEC; }

    __device__ __forceinline__ Pack fetch(i64 turn) const {
        Pack none = {};
        return first(turn) < features ? load_pack(row, first(turn), features) : none;
    }

    // From registers where the loop is unrolled (KEPT): they have no index.
    template <bool KEPT>
    __device__ __forceinline__ Pack pack(i64 turn) const {
#if DK_HOLD
        if (KEPT) return held[turn];
#endif
        return fetch(turn);
    }
};

__device__ __forceinline__ Token token_of(const x_t* x, i64 row, i64 rows, i64 features) {
    Token token;
    token.row = x + row * features;
    token.features = row < rows ? features : 0;  // a team beyond the last row goes along and reads nothing
    token.lane = threadIdx.x % DK_TEAM;
#if DK_HOLD
#pragma unroll
    for (int turn = 0; turn < DK_HOLD; ++turn) token.held[turn] = token.fetch(turn);
#endif
    return token;
}

// Which features of a pack are salient, one bit each.
__device__ __forceinline__ u32 salient_bits(const u8* salient, i64 first, i64 end) {
    u32 bits = 0;
#if DK_SALIENT && DK_ALIGNED
    u32 words[DK_VEC / 4] = {};
    if (first < end) load_words<DK_VEC>(salient + first, words);
#pragma unroll
    for (int k = 0; k < DK_VEC; ++k) bits |= (words[k / 4] >> (8 * (k % 4)) & 1) << k;
#elif DK_SALIENT
#pragma unroll
    for (int k = 0; k < DK_VEC; ++k)
        if (first + k < end && salient[first + k]) bits |= 1u << k;
#endif
    return bits;
}

struct Group {
    float scale, inverse, zero, cap, low;
};

__device__ __forceinline__ Group group_with(float scale, float zero, float cap) {
    Group group = {scale, __fdiv_rn(1.0f, scale), zero, cap, DK_SIGNED ? -cap : 0.0f};
    return group;
}

__device__ __forceinline__ Group chosen(const Group& usual, const Group& high, bool is_high) {
#if DK_SALIENT
    Group group = {is_high ? high.scale : usual.scale, is_high ? high.inverse : usual.inverse,
                   is_high ? high.zero : usual.zero, is_high ? high.cap : usual.cap, is_high ? high.low : usual.low};
    return group;
#else
    return usual;
#endif
}

// Whether the short division below is exact for a token: its scale is neither huge nor infinite nor NaN.
__device__ __forceinline__ bool is_quick(const Group& group) { return group.scale <= QUICK_SCALE; }

// Apart, so that the usual way stays short.
__device__ __noinline__ float divided(float x, float scale) { return __fdiv_rn(x, scale); }

// x / scale as IEEE division rounds it. QUICK: the correctly rounded reciprocal is at hand, a first correction brings
// the quotient next to the exact one and a second one onto it (Markstein 1990). |x / scale| < 2^21 here.
template <bool QUICK>
__device__ __forceinline__ float quotient(float x, const Group& group) {
    if (!QUICK) return divided(x, group.scale);
    float near = __fmul_rn(x, group.inverse);
    near = __fmaf_rn(__fmaf_rn(-group.scale, near, x), group.inverse, near);
    return __fmaf_rn(__fmaf_rn(-group.scale, near, x), group.inverse, near);
}

// Half to even; adding 1.5 * 2^23 does that to numbers below 2^22, in the pipe of additions.
template <bool QUICK>
__device__ __forceinline__ float rounded(float x) {
    return QUICK ? __fsub_rn(__fadd_rn(x, ROUNDER), ROUNDER) : rintf(x);
}

template <bool QUICK>
__device__ __forceinline__ u32 integer(float whole) {
    return QUICK ? __float_as_uint(__fadd_rn(whole, ROUNDER)) - ROUNDER_BITS : (u32)(int)whole;
}

// A code of a token with a NaN is 0.
template <bool QUICK>
__device__ __forceinline__ float limit(float code, const Group& group) {
    if (QUICK) return fminf(fmaxf(code, group.low), group.cap);
    if (code != code) code = 0.0f;
    return code < group.low ? group.low : code > group.cap ? group.cap : code;
}
