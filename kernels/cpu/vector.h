// Numbers of the CPU library: elements of any dtype become float32, and float32 becomes any dtype, rounded half to even.
//
// Written once, with the vector types of g++ and clang++ instead of intrinsics, for `Wide`, as wide as the instruction set
// of this compilation, and for the `float` that treats what is left at the end of a row. Each file is compiled once for
// every instruction set, so everything but the exported functions stays in unnamed namespaces: the linker must not
// choose one of three. No flag may fuse or reorder float operations.

#pragma once

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#if defined(__SSE2__)
#include <immintrin.h>
#endif

typedef uint8_t u8;
typedef int8_t i8;
typedef uint16_t u16;
typedef int16_t i16;
typedef uint32_t u32;
typedef int32_t i32;
typedef int64_t i64;
typedef uint64_t u64;

#define DK_JOIN_(name, level) name##_##level
#define DK_JOIN(name, level) DK_JOIN_(name, level)
// A function of the library, named for the instruction set of this compilation.
#define DK_EXPORT(name) extern "C" __attribute__((visibility("default"))) i64 DK_JOIN(name, DK_LEVEL)
#define DK_INLINE inline __attribute__((always_inline))

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "packed numbers lie lowest byte first");

namespace {

// As in darkit_nb/ops/_native.py.
// The last two are bytes of packed numbers, the first one in the lowest bits, every row from a byte of its own.
enum Type { FLOAT32 = 0, FLOAT16 = 1, BFLOAT16 = 2, UINT8 = 3, INT8 = 4, INT16 = 5, INT32 = 6, UINT4 = 7, BITS = 8 };

DK_INLINE i64 bytes_of_bits(i64 count) { return (count + 7) / 8; }

#if defined(__AVX512F__)
const i64 WIDTH = 16;
#elif defined(__AVX2__)
const i64 WIDTH = 8;
#else
const i64 WIDTH = 4;
#endif

template <class V>
struct Of {
    typedef i32 Int;
    typedef u32 Bits;
    static const i64 width = 1;
};

typedef float Wide __attribute__((vector_size(WIDTH * 4)));

template <>
struct Of<Wide> {
    typedef i32 Int __attribute__((vector_size(WIDTH * 4)));
    typedef u32 Bits __attribute__((vector_size(WIDTH * 4)));
    static const i64 width = WIDTH;
};
typedef Of<Wide>::Int WideInt;
typedef Of<Wide>::Bits WideBits;

// As many small integers as a vector has elements.
template <class T, i64 COUNT>
struct Small {
    typedef T type __attribute__((vector_size(COUNT * sizeof(T))));
};
template <class T>
struct Small<T, 1> {
    typedef T type;
};

template <class To, class From>
DK_INLINE To same_bits(From value) {
    static_assert(sizeof(To) == sizeof(From), "a change of type, not of size");
    To out;
    __builtin_memcpy(&out, &value, sizeof(To));
    return out;
}

template <class V>
DK_INLINE V read(const void* from) {
    V out;
    __builtin_memcpy(&out, from, sizeof(V));
    return out;
}

template <class V>
DK_INLINE void write(void* to, V value) {
    __builtin_memcpy(to, &value, sizeof(V));
}

// The same past the caches, for results larger than they are: a usual write to memory that lies in no cache reads it first.
// Only a vector at its own alignment can. A thread calls `settle_streams` after its last one.
template <class T>
DK_INLINE void stream(void* to, T value) {
#if defined(__AVX512F__)
    if constexpr (sizeof(T) == 64)
        if (((uintptr_t)to & 63) == 0) return _mm512_stream_si512((__m512i*)to, same_bits<__m512i>(value));
#endif
#if defined(__AVX2__)
    if constexpr (sizeof(T) == 32)
        if (((uintptr_t)to & 31) == 0) return _mm256_stream_si256((__m256i*)to, same_bits<__m256i>(value));
#endif
#if defined(__SSE2__)
    if constexpr (sizeof(T) == 16)
        if (((uintptr_t)to & 15) == 0) return _mm_stream_si128((__m128i*)to, same_bits<__m128i>(value));
#endif
    write(to, value);
}
DK_INLINE void settle_streams() {
#if defined(__SSE2__)
    _mm_sfence();
#endif
}
template <class T>
DK_INLINE void put(void* to, T value, bool past_caches) {
    if (past_caches) stream(to, value);
    else write(to, value);
}

template <class V>
DK_INLINE V all(float value) {
    return V{} + value;
}

DK_INLINE u32 widened(u16 value) { return value; }
DK_INLINE WideBits widened(Small<u16, WIDTH>::type value) { return __builtin_convertvector(value, WideBits); }
DK_INLINE i32 integers(float value) { return (i32)value; }
DK_INLINE WideInt integers(Wide value) { return __builtin_convertvector(value, WideInt); }
template <class T>
DK_INLINE void write_as(void* to, i32 value, bool = false) {
    write(to, (T)value);
}
template <class T>
DK_INLINE void write_as(void* to, WideInt value, bool past_caches = false) {
    put(to, __builtin_convertvector(value, typename Small<T, WIDTH>::type), past_caches);
}
// Numbers of 4 bits into a row from element `j`: two a byte, of which one alone is an end or follows its first half.
DK_INLINE void write_halves(u8* row, i64 j, i32 value) {
    row[j / 2] = (u8)(j % 2 ? row[j / 2] | value << 4 : value);
}
DK_INLINE void write_halves(u8* row, i64 j, WideInt value) {
    auto bytes = __builtin_convertvector(value, Small<u8, WIDTH>::type);
    auto pairs = same_bits<Small<u16, WIDTH / 2>::type>(bytes);
    write(row + j / 2, __builtin_convertvector(pairs | pairs >> 4, Small<u8, WIDTH / 2>::type));
}

// One bit for every element of a comparison's result, the first one lowest. The only place where compilers need help.
DK_INLINE u32 bits_of(i32 mask) { return mask != 0; }
DK_INLINE u32 bits_of(WideInt mask) {
#if defined(__AVX512F__)
    return _mm512_movepi32_mask((__m512i)mask);
#elif defined(__AVX2__)
    return (u32)_mm256_movemask_ps((__m256)mask);
#elif defined(__SSE2__)
    return (u32)_mm_movemask_ps((__m128)mask);
#else
    u32 bits = 0;
    for (i64 w = 0; w < WIDTH; ++w) bits |= (u32)(mask[w] & 1) << w;
    return bits;
#endif
}
template <class V>
DK_INLINE bool everywhere(typename Of<V>::Int mask) {
    return bits_of(mask) == (1u << Of<V>::width) - 1;
}

// `COUNT` bits of a row from bit `n`: whole bytes, or a part of one, whose first part is written first.
template <i64 COUNT>
DK_INLINE void write_bits(u8* row, i64 n, u64 bits) {
    row += n / 8;
    if (COUNT >= 8) memcpy(row, &bits, COUNT / 8);  // the lowest byte lies first on every processor there is torch for
    else *row = (u8)((n % 8 ? *row : 0) | bits << n % 8);
}

// 1.5 * 2^23: adding it rounds half to even to an integer, right for magnitudes below 2^22.
const float ROUNDER = 12582912.0f;

template <class V>
DK_INLINE V round_even(V value) {
    return (value + ROUNDER) - ROUNDER;
}

// round_even(value / divisor), by a product where that cannot matter: `inverse` is 1 / divisor, or NaN where that is no
// usual number. Product and quotient are less than 2^-22 of their size apart, so they round to one integer unless a half
// lies so near.
template <class V>
DK_INLINE V rounded_quotient(V value, V divisor, V inverse) {
    V near = value * inverse, whole = round_even(near), off = near - whole;
    off = off < 0.0f ? -off : off, near = near < 0.0f ? -near : near;
    if (everywhere<V>(off < 0.5f - near * 0x1p-21f)) return whole;
    return round_even(value / divisor);
}

DK_INLINE float inverse_of(float divisor) { return divisor < 0x1p100f ? 1.0f / divisor : __builtin_nanf(""); }

template <class V>
DK_INLINE V from_half(typename Of<V>::Bits half) {
    typedef typename Of<V>::Bits Bits;
    Bits sign = (half & 0x8000u) << 16, magnitude = (half & 0x7fffu) << 13;
    // 2^112 moves the exponent from the one format to the other, subnormals included.
    Bits finite = same_bits<Bits>(same_bits<V>(magnitude) * 0x1p112f);
    return same_bits<V>(sign | (magnitude >= (0x7c00u << 13) ? magnitude | 0x7f800000u : finite));
}

template <class V>
DK_INLINE typename Of<V>::Int to_half(V value) {
    typedef typename Of<V>::Bits Bits;
    Bits bits = same_bits<Bits>(value), sign = (bits >> 16) & 0x8000u, magnitude = bits & 0x7fffffffu;
    Bits shifted = magnitude - 0x38000000u;
    Bits normal = (shifted + 0x0fffu + ((shifted >> 13) & 1u)) >> 13;
    // Below 2^-14, adding 0.5 leaves the value in units of 2^-24 in the low bits, rounded half to even.
    Bits subnormal = same_bits<Bits>(same_bits<V>(magnitude) + 0.5f) - 0x3f000000u;
    Bits finite = magnitude < 0x38800000u ? subnormal : normal;
    Bits infinite = Bits{} + 0x7c00u, broken = Bits{} + 0x7e00u;
    finite = magnitude >= 0x477ff000u ? infinite : finite;  // 65520 and more round to infinity
    return same_bits<typename Of<V>::Int>(sign | (magnitude > 0x7f800000u ? broken : finite));
}

template <class V>
DK_INLINE typename Of<V>::Int to_bfloat(V value) {
    typedef typename Of<V>::Bits Bits;
    Bits bits = same_bits<Bits>(value), rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    Bits broken = (bits >> 16) | 0x40u;
    return same_bits<typename Of<V>::Int>((bits & 0x7fffffffu) > 0x7f800000u ? broken : rounded);
}

// The elements of `base` from `index`, as many as a V has.
template <class V>
DK_INLINE V load(const void* base, i64 type, i64 index) {
    if (type == FLOAT32) return read<V>((const float*)base + index);
    auto half = widened(read<typename Small<u16, Of<V>::width>::type>((const u16*)base + index));
    return type == FLOAT16 ? from_half<V>(half) : same_bits<V>(half << 16);
}

// The same the other way. Integers must fit their type; a NaN becomes 0 there.
template <class V>
DK_INLINE void store(void* base, i64 type, i64 index, V value, bool past_caches = false) {
    if (type == FLOAT32) return put((float*)base + index, value, past_caches);
    if (type == FLOAT16) return write_as<u16>((u16*)base + index, to_half(value), past_caches);
    if (type == BFLOAT16) return write_as<u16>((u16*)base + index, to_bfloat(value), past_caches);
    auto whole = integers(value == value ? value : V{});
    if (type == UINT8) return write_as<u8>((u8*)base + index, whole, past_caches);
    if (type == INT8) return write_as<i8>((i8*)base + index, whole, past_caches);
    if (type == INT16) return write_as<i16>((i16*)base + index, whole, past_caches);
    write_as<i32>((i32*)base + index, whole, past_caches);
}

// e^t for t <= 0, to two units in the last place; no smaller than e^-87.
template <class V>
DK_INLINE V exp_of_negative(V t) {
    typedef typename Of<V>::Bits Bits;
    t = t < -87.0f ? all<V>(-87.0f) : t;
    V shifted = t * 1.44269504f + ROUNDER, whole = shifted - ROUNDER;
    // ln 2 in two parts, so that the first product is exact.
    V r = (t - whole * 0.693359375f) + whole * 2.12194440e-4f;
    V tail = all<V>(1.3888889e-3f);
    tail = tail * r + 8.3333338e-3f;
    tail = tail * r + 4.1666668e-2f;
    tail = tail * r + 1.6666667e-1f;
    tail = tail * r + 0.5f;
    Bits power = (same_bits<Bits>(shifted) - 0x4b400000u + 127u) << 23;
    return ((r * r * tail + r) + 1.0f) * same_bits<V>(power);
}

}  // namespace
