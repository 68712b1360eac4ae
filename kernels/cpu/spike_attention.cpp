// Products of queries, or of attention probabilities, with the packed counts of a key/value cache on the CPU.
//
// Formula    scores[r, j] = sum_d rows[r, d] * u[j, d]      sums[r, d] = sum_j weights[r, j] * u[j, d]
//            with u the unsigned codes of darkit_nb/functional/packed_spikes.py; scales and zero points are its caller's.
// Layout     for every sequence b and head h: low [L, P] bytes of E = 8/bits codes, code s of byte p being feature p*E+s;
//            high [L, M] bytes of the salient features of all heads, those of head h from begin[h] to begin[h+1].
//            rows and sums are planes [R, E, P] of the codes at the same place of a byte, and [R, M] for high parts.
// Order      bytes become float32 in registers and are multiplied there: the cache is read once and nothing is written
//            but the result. Scores take a token at a time, sums a vector of bytes for all tokens.
// Numerics   float32 sums in the order of features (scores) or tokens (sums); no fused multiply-add.

#include "threads.h"
#include "vector.h"

namespace {

typedef Small<u8, WIDTH>::type Bytes;

struct Codes {
    const u8* low;
    i64 low_sequence, low_head, low_token, bits, bytes;
    const u8* high;
    i64 high_sequence, high_token, salient;
    const i64* begin;
    i64 heads, tokens, rows;

    i64 each() const { return 8 / bits; }
    i64 plane() const { return each() * bytes; }
};

template <i64 COUNT>
DK_INLINE float total(typename Small<float, COUNT>::type value) {
    typename Small<float, COUNT / 2>::type low, high;
    __builtin_memcpy(&low, &value, sizeof(low));
    __builtin_memcpy(&high, (const char*)&value + sizeof(low), sizeof(high));
    return total<COUNT / 2>(low + high);
}
template <>
DK_INLINE float total<1>(float value) {
    return value;
}

DK_INLINE Wide part_of(Bytes bytes, i64 shift, u8 mask) {
    return __builtin_convertvector(__builtin_convertvector((bytes >> (u8)shift) & mask, WideInt), Wide);
}

// N rows from `r` of one head: their products with every token.
template <i64 N>
void score(const Codes& codes, i64 b, i64 h, i64 r, const float* rows, const float* above, float* out) {
    const i64 each = codes.each(), begin = codes.begin[h], end = codes.begin[h + 1];
    const u8 mask = (u8)((1 << codes.bits) - 1);
    const float* own = rows + r * codes.plane();
    for (i64 j = 0; j < codes.tokens; ++j) {
        const u8* low = codes.low + b * codes.low_sequence + h * codes.low_head + j * codes.low_token;
        Wide sums[N] = {};
        float rest[N] = {};
        i64 p = 0;
        for (; p + WIDTH <= codes.bytes; p += WIDTH) {
            Bytes bytes = read<Bytes>(low + p);
            for (i64 s = 0; s < each; ++s) {
                Wide value = part_of(bytes, s * codes.bits, mask);
                for (i64 n = 0; n < N; ++n) {
                    sums[n] += value * read<Wide>(own + n * codes.plane() + s * codes.bytes + p);
                }
            }
        }
        for (; p < codes.bytes; ++p) {
            for (i64 s = 0; s < each; ++s) {
                float value = (float)((low[p] >> s * codes.bits) & mask);
                for (i64 n = 0; n < N; ++n) rest[n] += value * own[n * codes.plane() + s * codes.bytes + p];
            }
        }
        const u8* high = codes.high + b * codes.high_sequence + j * codes.high_token;
        i64 c = begin;
        for (; c + WIDTH <= end; c += WIDTH) {
            Wide value = part_of(read<Bytes>(high + c), 0, 255);
            for (i64 n = 0; n < N; ++n) sums[n] += value * read<Wide>(above + (r + n) * codes.salient + c);
        }
        for (; c < end; ++c) {
            for (i64 n = 0; n < N; ++n) rest[n] += (float)high[c] * above[(r + n) * codes.salient + c];
        }
        for (i64 n = 0; n < N; ++n) out[(r + n) * codes.tokens + j] = total<WIDTH>(sums[n]) + rest[n];
    }
}

// N rows from `r` of one head: sums of the codes of a vector of places, V being Wide or float.
template <i64 N, class V>
DK_INLINE void gather(
    const u8* from, i64 stride, i64 tokens, i64 shift, u8 mask, const float* weights, float* out, i64 out_stride
) {
    V sums[N] = {};
    for (i64 j = 0; j < tokens; ++j) {
        V value;
        if constexpr (Of<V>::width == 1) value = (float)((from[j * stride] >> shift) & mask);
        else value = part_of(read<Bytes>(from + j * stride), shift, mask);
        for (i64 n = 0; n < N; ++n) sums[n] += value * weights[n * tokens + j];
    }
    for (i64 n = 0; n < N; ++n) write(out + n * out_stride, sums[n]);
}

template <i64 N>
void add_up(const Codes& codes, i64 b, i64 h, i64 r, const float* weights, float* out, float* above) {
    const u8 mask = (u8)((1 << codes.bits) - 1);
    const float* own = weights + r * codes.tokens;
    const u8* low = codes.low + b * codes.low_sequence + h * codes.low_head;
    for (i64 s = 0; s < codes.each(); ++s) {
        float* to = out + r * codes.plane() + s * codes.bytes;
        i64 p = 0, shift = s * codes.bits;
        for (; p + WIDTH <= codes.bytes; p += WIDTH) {
            gather<N, Wide>(low + p, codes.low_token, codes.tokens, shift, mask, own, to + p, codes.plane());
        }
        for (; p < codes.bytes; ++p) {
            gather<N, float>(low + p, codes.low_token, codes.tokens, shift, mask, own, to + p, codes.plane());
        }
    }
    const u8* high = codes.high + b * codes.high_sequence;
    i64 c = codes.begin[h], end = codes.begin[h + 1];
    float* to = above + r * codes.salient;
    for (; c + WIDTH <= end; c += WIDTH) {
        gather<N, Wide>(high + c, codes.high_token, codes.tokens, 0, 255, own, to + c, codes.salient);
    }
    for (; c < end; ++c) {
        gather<N, float>(high + c, codes.high_token, codes.tokens, 0, 255, own, to + c, codes.salient);
    }
}

// Every head of every sequence, its rows four at a time; SCORES or sums.
template <bool SCORES>
void attend(const Codes& codes, i64 sequences, const float* given, const float* given_above, float* out, float* above,
            i64 threads) {
    const i64 plane = codes.rows * codes.plane(), high = codes.rows * codes.salient, row = codes.rows * codes.tokens;
    auto body = [&](i64 begin, i64 end, i64) {
        for (i64 each = begin; each < end; ++each) {
            i64 b = each / codes.heads, h = each % codes.heads, r = 0;
            // The high parts of all heads of a sequence share its rows; each head fills its own columns.
            if (SCORES) {
                const float *rows = given + each * plane, *tops = given_above + b * codes.heads * high + h * high;
                for (; r + 4 <= codes.rows; r += 4) score<4>(codes, b, h, r, rows, tops, out + each * row);
                for (; r < codes.rows; ++r) score<1>(codes, b, h, r, rows, tops, out + each * row);
            } else {
                float *sums = out + each * plane, *tops = above + b * codes.heads * high + h * high;
                for (; r + 4 <= codes.rows; r += 4) add_up<4>(codes, b, h, r, given + each * row, sums, tops);
                for (; r < codes.rows; ++r) add_up<1>(codes, b, h, r, given + each * row, sums, tops);
            }
        }
    };
    i64 heads = sequences * codes.heads;
    in_parts(heads, 1, parts_of(heads, codes.rows * codes.tokens * codes.plane() / 4 + 1, threads), body);
}

}  // namespace

// rows [B, H, R, E, P] and above [B, H, R, M] (nothing outside the columns of the head is read) -> out [B, H, R, L]
DK_EXPORT(dk_code_scores)(
    const u8* low, i64 low_sequence, i64 low_head, i64 low_token, i64 bits, i64 bytes, const u8* high, i64 high_sequence,
    i64 high_token, i64 salient, const i64* begin, i64 sequences, i64 heads, i64 tokens, i64 rows, const float* given,
    const float* above, float* out, i64 threads
) {
    Codes codes = {low, low_sequence, low_head, low_token, bits, bytes, high, high_sequence, high_token, salient, begin,
                   heads, tokens, rows};
    attend<true>(codes, sequences, given, above, out, 0, threads);
    return 0;
}

// weights [B, H, R, L] -> out [B, H, R, E, P] and above [B, H, R, M], of which the columns of the head are written
DK_EXPORT(dk_code_sums)(
    const u8* low, i64 low_sequence, i64 low_head, i64 low_token, i64 bits, i64 bytes, const u8* high, i64 high_sequence,
    i64 high_token, i64 salient, const i64* begin, i64 sequences, i64 heads, i64 tokens, i64 rows, const float* given,
    float* above, float* out, i64 threads
) {
    Codes codes = {low, low_sequence, low_head, low_token, bits, bytes, high, high_sequence, high_token, salient, begin,
                   heads, tokens, rows};
    attend<false>(codes, sequences, given, 0, out, above, threads);
    return 0;
}
