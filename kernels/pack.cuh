// DK_VEC neighbouring elements of a row, moved as one.
//
// With DK_ALIGNED every row begins at a multiple of 16 bytes and has whole packs, so a pack moves in loads and stores
// of up to 16 bytes. Without it elements move one by one, and those beyond the end of the row read as 0 and are not
// written. Words are 32 bits, elements lie in them low bits first.

// BYTES is 1, 2, 4, 8 or a multiple of 16.
template <int BYTES>
__device__ __forceinline__ void load_words(const void* from, u32* words) {
    if constexpr (BYTES == 4) {
        words[0] = *(const u32*)from;
    } else if constexpr (BYTES == 8) {
        uint2 found = *(const uint2*)from;
        words[0] = found.x, words[1] = found.y;
    } else {
#pragma unroll
        for (int i = 0; i < BYTES / 16; ++i) {
            uint4 found = ((const uint4*)from)[i];
            words[4 * i] = found.x, words[4 * i + 1] = found.y, words[4 * i + 2] = found.z, words[4 * i + 3] = found.w;
        }
    }
}

// One instruction. Written as PTX: the compiler takes the store of a vector apart and does not always join it again.
__device__ __forceinline__ void store_16(void* to, const u32* words) {
#if DK_PTX
    asm volatile("st.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(to), "r"(words[0]), "r"(words[1]), "r"(words[2]),
                 "r"(words[3])
                 : "memory");
#else
    uint4 made = {words[0], words[1], words[2], words[3]};
    *(uint4*)to = made;
#endif
}

__device__ __forceinline__ void store_8(void* to, const u32* words) {
#if DK_PTX
    asm volatile("st.global.v2.u32 [%0], {%1, %2};" ::"l"(to), "r"(words[0]), "r"(words[1]) : "memory");
#else
    uint2 made = {words[0], words[1]};
    *(uint2*)to = made;
#endif
}

template <int BYTES>
__device__ __forceinline__ void store_words(void* to, const u32* words) {
    if constexpr (BYTES == 1) {
        *(u8*)to = (u8)words[0];
    } else if constexpr (BYTES == 2) {
        *(u16*)to = (u16)words[0];
    } else if constexpr (BYTES == 4) {
        *(u32*)to = words[0];
    } else if constexpr (BYTES == 8) {
        store_8(to, words);
    } else {
#pragma unroll
        for (int i = 0; i < BYTES / 16; ++i) store_16((u8*)to + 16 * i, words + 4 * i);
    }
}

// Elements of the dtype DK_X.
struct Pack {
    u32 words[(DK_VEC * DK_X_BYTES + 3) / 4] = {};
};

__device__ __forceinline__ float value_of(const Pack& pack, int k) {
#if DK_X == 0
    return __uint_as_float(pack.words[k]);
#else
    return load_x((x_t)(pack.words[k / 2] >> (16 * (k & 1))));
#endif
}

__device__ __forceinline__ void put_value(Pack& pack, int k, float value) {
#if DK_X == 0
    pack.words[k] = __float_as_uint(value);
#else
    int place = 16 * (k & 1);
    pack.words[k / 2] = (pack.words[k / 2] & 0xffff0000u >> place) | (u32)store_x(value) << place;
#endif
}

__device__ __forceinline__ Pack load_pack(const x_t* row, i64 first, i64 end) {
    Pack pack;
#if DK_ALIGNED
    load_words<DK_VEC * DK_X_BYTES>(row + first, pack.words);
#else
#pragma unroll
    for (int k = 0; k < DK_VEC; ++k) put_value(pack, k, first + k < end ? load_x(row[first + k]) : 0.0f);
#endif
    return pack;
}

__device__ __forceinline__ void store_pack(x_t* row, i64 first, i64 end, const Pack& pack) {
#if DK_ALIGNED
    store_words<DK_VEC * DK_X_BYTES>(row + first, pack.words);
#else
#pragma unroll
    for (int k = 0; k < DK_VEC; ++k)
        if (first + k < end) row[first + k] = store_x(value_of(pack, k));
#endif
}

// Integers of BITS bits.
template <int BITS>
struct Codes {
    u32 words[(DK_VEC * BITS + 31) / 32] = {};

    __device__ __forceinline__ void put(int k, u32 code) {
        words[k * BITS / 32] |= (BITS == 32 ? code : code & ((1u << (BITS & 31)) - 1)) << (k * BITS % 32);
    }

    // `row` begins at a byte of its own.
    __device__ __forceinline__ void store(u8* row, i64 first, i64 end) const {
        if constexpr (DK_ALIGNED || BITS < 8) {
            static_assert(DK_VEC * BITS % 8 == 0, "a pack ends at a whole byte");
            store_words<DK_VEC * BITS / 8>(row + first * BITS / 8, words);
        } else {
#pragma unroll
            for (int k = 0; k < DK_VEC; ++k)
                if (first + k < end) {
                    u32 code = words[k * BITS / 32] >> (k * BITS % 32);
                    store_words<BITS / 8>(row + (first + k) * (BITS / 8), &code);
                }
        }
    }
};

// One bit an element, low bits first: neighbouring lanes put their bits together, so all of a warp come here.
__device__ __forceinline__ void store_bits(u8* row, i64 first, i64 end, u32 bits) {
#pragma unroll
    for (int width = DK_VEC; width < 8; width *= 2)
        bits |= __shfl_xor_sync(0xffffffffu, bits, width / DK_VEC) << width;
    if (first < end && first % 8 == 0) row[first / 8] = (u8)bits;
}

// float32 numbers beside the elements, one for each of them, or one for all with stride 0.
__device__ __forceinline__ void load_floats(const float* from, i64 first, i64 end, i64 stride, float* values) {
    float shared = stride == 0 ? from[0] : 0.0f;
#if DK_ALIGNED
    u32 words[DK_VEC];
    if (stride != 0) load_words<DK_VEC * 4>(from + first, words);
#pragma unroll
    for (int k = 0; k < DK_VEC; ++k) values[k] = stride == 0 ? shared : __uint_as_float(words[k]);
#else
#pragma unroll
    for (int k = 0; k < DK_VEC; ++k) values[k] = stride == 0 ? shared : first + k < end ? from[first + k] : 0.0f;
#endif
}

__device__ __forceinline__ void store_floats(float* to, i64 first, i64 end, const float* values) {
#if DK_ALIGNED
    u32 words[DK_VEC];
#pragma unroll
    for (int k = 0; k < DK_VEC; ++k) words[k] = __float_as_uint(values[k]);
    store_words<DK_VEC * 4>(to + first, words);
#else
#pragma unroll
    for (int k = 0; k < DK_VEC; ++k)
        if (first + k < end) to[first + k] = values[k];
#endif
}
