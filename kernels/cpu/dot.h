// Dot products of four unsigned with four signed bytes, and sums of a few tokens and one block of outputs by them.
//
// Included once for every set of instructions there is a way for: DK_HAND names it, DK_KERNEL is what its functions are
// marked with, DK_VNNI says that one instruction does it all. Every way is exact for all bytes; none saturates.

namespace {
namespace DK_HAND {

DK_KERNEL DK_INLINE WideBits dot4(WideBits sum, WideBits counts, WideBits codes) {
#if DK_VNNI
    return (WideBits)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)counts, (__m512i)codes);
#elif defined(__x86_64__)
    // Bytes 0 and 2 of every lane, then 1 and 3, widened to 16 bits.
    typedef Small<u16, WIDTH * 2>::type Halves;
    typedef Small<i16, WIDTH * 2>::type SignedHalves;
    Halves even = (Halves)counts & 255, odd = (Halves)counts >> 8;
    SignedHalves even_codes = (SignedHalves)((Halves)codes << 8) >> 8, odd_codes = (SignedHalves)codes >> 8;
#if defined(__AVX512BW__)
    return sum + (WideBits)_mm512_madd_epi16((__m512i)even, (__m512i)even_codes) +
           (WideBits)_mm512_madd_epi16((__m512i)odd, (__m512i)odd_codes);
#elif defined(__AVX2__)
    return sum + (WideBits)_mm256_madd_epi16((__m256i)even, (__m256i)even_codes) +
           (WideBits)_mm256_madd_epi16((__m256i)odd, (__m256i)odd_codes);
#else
    return sum + (WideBits)_mm_madd_epi16((__m128i)even, (__m128i)even_codes) +
           (WideBits)_mm_madd_epi16((__m128i)odd, (__m128i)odd_codes);
#endif
#else
    for (u32 byte = 0; byte < 4; ++byte) {
        WideInt code = (WideInt)(codes << (24 - 8 * byte)) >> 24;
        sum += (counts >> (8 * byte) & 255u) * (WideBits)code;
    }
    return sum;
#endif
}

// Sums of ROWS tokens, 64 bytes apart, and the outputs of a block over one segment, from codes of BITS bits as they are
// stored. Bits beyond the last unit are 0 and meet any bytes.
template <i64 BITS, i64 ROWS>
DK_KERNEL void sum_rows(const u8* codes, const u8* operand, i64 units, i32* sums) {
    const i64 each = 8 / BITS, parts = BLOCK / WIDTH;
    const u32 mask = BITS == 8 ? 0xffffffffu : ((1u << (BITS % 8)) - 1u) * 0x01010101u;
    // Sums kept apart hide the time one dot product waits for the one before.
    const i64 apart = ROWS == 1 ? 4 : ROWS == 2 ? 2 : 1;
    WideBits sum[apart][ROWS][parts];
    for (i64 a = 0; a < apart; ++a) {
        for (i64 i = 0; i < ROWS; ++i) {
            for (i64 v = 0; v < parts; ++v) sum[a][i][v] = WideBits{};
        }
    }
    for (i64 unit = 0; unit < units; unit += each, codes += UNIT_BYTES, operand += each * UNIT_BYTES) {
        for (i64 line = 0; line < LINES; line += apart) {
            for (i64 a = 0; a < apart; ++a) {
                WideBits packed[parts];
                for (i64 v = 0; v < parts; ++v) packed[v] = read<WideBits>(codes + (line + a) * UNIT + v * WIDTH * 4);
                for (i64 k = 0; k < each; ++k) {
                    for (i64 i = 0; i < ROWS; ++i) {
                        WideBits counts = WideBits{} + read<u32>(operand + k * UNIT_BYTES + i * UNIT + (line + a) * 4);
                        for (i64 v = 0; v < parts; ++v) {
                            WideBits code = BITS == 8 ? packed[v] : (packed[v] >> (u32)(k * BITS)) & mask;
                            sum[a][i][v] = dot4(sum[a][i][v], counts, code);
                        }
                    }
                }
            }
        }
    }
    for (i64 i = 0; i < ROWS; ++i) {
        for (i64 v = 0; v < parts; ++v) {
            WideBits total = sum[0][i][v];
            for (i64 a = 1; a < apart; ++a) total += sum[a][i][v];
            write(sums + i * BLOCK + v * WIDTH, total);
        }
    }
}

template <i64 BITS>
DK_KERNEL void sum_up_to_16(const u8* codes, const u8* operand, i64 units, i64 rows, i32* sums) {
    const i64 most = WIDTH == 16 ? 8 : 4;
    i64 i = 0;
    for (; i + most <= rows; i += most) sum_rows<BITS, most>(codes, operand + i * UNIT, units, sums + i * BLOCK);
    for (; i + 2 <= rows; i += 2) sum_rows<BITS, 2>(codes, operand + i * UNIT, units, sums + i * BLOCK);
    if (i < rows) sum_rows<BITS, 1>(codes, operand + i * UNIT, units, sums + i * BLOCK);
}

#if DK_VNNI
// Sums of ROWS tokens and two blocks of outputs over one segment of bytes: each count is read once for both, and twice as
// many sums wait for one another.
template <i64 ROWS>
DK_KERNEL DK_INLINE void sum_rows_twice(const u8* codes_0, const u8* codes_1, const u8* operand, i64 units, i32* sums) {
    WideBits sum[2][ROWS];
    for (i64 i = 0; i < ROWS; ++i) sum[0][i] = sum[1][i] = WideBits{};
    for (i64 at = 0; at < units * UNIT_BYTES; at += UNIT_BYTES) {
        for (i64 line = 0; line < LINES; ++line) {
            WideBits one = read<WideBits>(codes_0 + at + line * UNIT), other = read<WideBits>(codes_1 + at + line * UNIT);
            for (i64 i = 0; i < ROWS; ++i) {
                WideBits counts = WideBits{} + read<u32>(operand + at + i * UNIT + line * 4);
                sum[0][i] = dot4(sum[0][i], counts, one);
                sum[1][i] = dot4(sum[1][i], counts, other);
            }
        }
    }
    for (i64 i = 0; i < ROWS; ++i) {
        write(sums + i * BLOCK, sum[0][i]);
        write(sums + BLOCK * BLOCK + i * BLOCK, sum[1][i]);
    }
}

// Sums of up to 16 tokens and two blocks of outputs over one segment of bytes; those of the second block follow.
DK_KERNEL void sum_segment_twice(const u8* codes_0, const u8* codes_1, const u8* operand, i64 units, i64 rows, i32* sums) {
    i64 i = 0;
    for (; i + 8 <= rows; i += 8) sum_rows_twice<8>(codes_0, codes_1, operand + i * UNIT, units, sums + i * BLOCK);
    for (; i + 2 <= rows; i += 2) sum_rows_twice<2>(codes_0, codes_1, operand + i * UNIT, units, sums + i * BLOCK);
    if (i < rows) sum_rows_twice<1>(codes_0, codes_1, operand + i * UNIT, units, sums + i * BLOCK);
}
#endif

// Sums of up to 16 tokens and one block of outputs over one segment.
DK_KERNEL void sum_segment(i64 bits, const u8* codes, const u8* operand, i64 units, i64 rows, i32* sums) {
    if (bits == 8) sum_up_to_16<8>(codes, operand, units, rows, sums);
    if (bits == 4) sum_up_to_16<4>(codes, operand, units, rows, sums);
    if (bits == 2) sum_up_to_16<2>(codes, operand, units, rows, sums);
    if (bits == 1) sum_up_to_16<1>(codes, operand, units, rows, sums);
}

}  // namespace DK_HAND
}  // namespace
