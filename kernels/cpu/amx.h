// Sums of 32 tokens and 32 outputs on the tile unit of newer x86 processors, where the system lets this process use it.

#pragma once

#if defined(__x86_64__) && defined(__AVX512BW__) && defined(__linux__) && __has_include(<amxint8intrin.h>)
#define DK_AMX 1
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#else
#define DK_AMX 0
#endif

#include "product.h"

namespace {

#if DK_AMX
#define DK_TILES __attribute__((target("amx-tile,amx-int8")))
#define DK_FLOAT_TILES __attribute__((target("amx-tile,amx-bf16")))
// Compilers do not know what memory tile instructions read: everything is written before this point.
#define DK_WRITTEN(pointer) __asm__ volatile("" : : "r"(pointer) : "memory")

// Whether tiles of bytes exist, the system saves them, and this process may use them. Asked once.
inline bool tiles_ready() {
    static int known = 0;  // 0 not asked, 1 yes, 2 no; two threads that ask at once find the same
    int now = __atomic_load_n(&known, __ATOMIC_RELAXED);
    if (now != 0) return now == 1;
    u32 a = 0, b = 0, c = 0, d = 0;
    bool exist = __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d >> 24 & 1) && (d >> 25 & 1);
    const long ask_permission = 0x1023, tile_data = 18;
    exist = exist && syscall(SYS_arch_prctl, ask_permission, tile_data) == 0;
    __atomic_store_n(&known, exist ? 1 : 2, __ATOMIC_RELAXED);
    return exist;
}

// The same of tiles of bfloat16.
inline bool float_tiles_ready() {
    u32 a = 0, b = 0, c = 0, d = 0;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d >> 22 & 1) && tiles_ready();
}

// Every tile 16 rows of 64 bytes.
DK_TILES inline void open_tiles() {
    struct {
        u8 palette, start, unused[14];
        u16 row_bytes[16];
        u8 rows[16];
    } shape = {};
    shape.palette = 1;
    for (int tile = 0; tile < 8; ++tile) shape.row_bytes[tile] = 64, shape.rows[tile] = 16;
    DK_WRITTEN(&shape);
    _tile_loadconfig(&shape);
}

DK_TILES inline void close_tiles() { _tile_release(); }

// Two tiles of tokens by two blocks of outputs over one segment; sums of [tokens][outputs] tiles 0 0, 0 1, 1 0, 1 1.
DK_TILES inline void sum_tiles(const i8* codes_0, const i8* codes_1, const u8* operand_0, const u8* operand_1, i64 units,
                               i32* sums) {
    DK_WRITTEN(sums);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (i64 at = 0; at < units * UNIT_BYTES; at += UNIT_BYTES) {
        _tile_loadd(4, operand_0 + at, UNIT);
        _tile_loadd(6, codes_0 + at, UNIT);
        _tile_dpbusd(0, 4, 6);
        _tile_loadd(7, codes_1 + at, UNIT);
        _tile_dpbusd(1, 4, 7);
        _tile_loadd(5, operand_1 + at, UNIT);
        _tile_dpbusd(2, 5, 6);
        _tile_dpbusd(3, 5, 7);
    }
    _tile_stored(0, sums, UNIT);
    _tile_stored(1, sums + 256, UNIT);
    _tile_stored(2, sums + 512, UNIT);
    _tile_stored(3, sums + 768, UNIT);
}

// The same of bfloat16, 32 features a step: a token is the sum of `pieces` tiles that follow one another, weights are one.
DK_FLOAT_TILES inline void sum_float_tiles(const u8* weights_0, const u8* weights_1, const u8* operand_0, const u8* operand_1,
                                           i64 steps, i64 pieces, float* sums) {
    DK_WRITTEN(sums);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (i64 step = 0; step < steps; ++step) {
        _tile_loadd(6, weights_0 + step * UNIT_BYTES, UNIT);
        _tile_loadd(7, weights_1 + step * UNIT_BYTES, UNIT);
        for (i64 piece = 0; piece < pieces; ++piece, operand_0 += UNIT_BYTES, operand_1 += UNIT_BYTES) {
            _tile_loadd(4, operand_0, UNIT);
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(1, 4, 7);
            _tile_loadd(5, operand_1, UNIT);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
    }
    _tile_stored(0, sums, UNIT);
    _tile_stored(1, sums + 256, UNIT);
    _tile_stored(2, sums + 512, UNIT);
    _tile_stored(3, sums + 768, UNIT);
}
#else
inline bool tiles_ready() { return false; }
inline bool float_tiles_ready() { return false; }
inline void open_tiles() {}
inline void close_tiles() {}
inline void sum_tiles(const i8*, const i8*, const u8*, const u8*, i64, i32*) {}
inline void sum_float_tiles(const u8*, const u8*, const u8*, const u8*, i64, i64, float*) {}
#endif

}  // namespace
