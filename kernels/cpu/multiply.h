// How tokens, encoded or given as counts, meet the codes of a weight: what product.cpp and training.cpp share.
//
// Order      tokens in bundles that stay in the cache with their counts; for each pair of blocks of outputs the codes are
//            unpacked once and meet all tokens of the bundle. A few tokens meet the codes as they are stored.

#pragma once

#include "amx.h"
#include "operand.h"
#include "threads.h"

#define DK_HAND plain
#define DK_KERNEL
#define DK_VNNI 0
#include "dot.h"
#undef DK_HAND
#undef DK_KERNEL
#undef DK_VNNI

#if defined(__x86_64__) && defined(__AVX512BW__)
#define DK_HAND vnni
#define DK_KERNEL __attribute__((target("avx512vnni")))
#define DK_VNNI 1
#include "dot.h"
#endif

namespace {

const i64 BUNDLE_BYTES = 262144, MOST_BUNDLE = 256, FEW_ROWS = 8;

enum Hand { PLAIN = 0, VNNI = 1, TILES = 2 };

// The fastest way of this processor, at most `most`.
Hand hand_of(i64 most) {
    if (most >= TILES && tiles_ready()) return TILES;
#if defined(__x86_64__) && defined(__AVX512BW__)
    if (most >= VNNI && __builtin_cpu_supports("avx512vnni")) return VNNI;
#endif
    return PLAIN;
}

void sum_block(Hand hand, i64 bits, const u8* codes, const u8* operand, i64 units, i64 rows, i32* sums) {
#if defined(__x86_64__) && defined(__AVX512BW__)
    if (hand != PLAIN) return vnni::sum_segment(bits, codes, operand, units, rows, sums);
#else
    (void)hand;
#endif
    plain::sum_segment(bits, codes, operand, units, rows, sums);
}

i64 bundle_of(const Plan& plan) {
    i64 rows = BUNDLE_BYTES / (plan.units * UNIT) / 32 * 32;
    return rows < 32 ? 32 : rows > MOST_BUNDLE ? MOST_BUNDLE : rows;
}

// What one thread works in; the places of its parts follow one another.
struct Bench {
    float* wide;
    u8 *line, *operand;
    i8* panel;
    Token* tokens;
    u32* sums;

    // Where the room ends that begins at `at`.
    char* place(char* at, const Plan& plan, i64 rows) {
        i64 tall = (rows + 31) / 32 * 32;
        wide = (float*)take(at, plan.features * 4);
        line = (u8*)take(at, plan.features + 1);
        operand = (u8*)take(at, (tall * plan.units + MOST_IN_BYTE * BLOCK) * UNIT);
        panel = (i8*)take(at, 2 * plan.units * UNIT_BYTES);
        tokens = (Token*)take(at, tall * (i64)sizeof(Token));
        sums = (u32*)take(at, tall * plan.segments * 4);
        return at;
    }

    static char* take(char*& at, i64 bytes) {
        char* mine = at;
        at += (bytes + 63) / 64 * 64;
        return mine;
    }
};

// As darkit_nb/ops/_product_native.py writes it.
struct Call {
    const Plan* plan;
    const void* x;
    i64 x_type, x_stride;
    const u8* counts;
    const float* scale;
    const i32* zero;
    i64 rows;
    void* y;
    i64 y_type;
    char* room;
    i64 room_bytes, most, threads;
};

struct Job {
    const Plan& plan;
    const Call& call;
    Law law;
    Hand hand;
    Kept* kept;  // null: nothing but y is wanted
};

// Rows [row, row + rows) as operand.
void prepare(const Job& job, const Bench& bench, i64 row, i64 rows) {
    const Plan& plan = job.plan;
    const Call& call = job.call;
    i64 groups = plan.salient ? 2 : 1;
    for (i64 i = 0; i < rows; ++i) {
        i64 at = row + i;
        if (call.counts) {
            take_counts(plan, call.counts + at * plan.features, bench.line);
            bench.tokens[i] = token_of(plan, call.scale + at * groups, call.zero + at * groups, groups - 1);
        } else {
            Rows tokens = {job.law, plan.features, 0, 0};
            tokens.row = widened_row(call.x, call.x_type, at * call.x_stride, plan.features, bench.wide);
            i8* centred = job.kept ? job.kept->centred + at * plan.features : 0;
            bool clamped = false;
            bench.tokens[i] = encode_token(plan, tokens, bench.line, centred, clamped);
            if (job.kept) {
                memcpy(job.kept->scale + at * groups, bench.tokens[i].scale, (size_t)groups * 4);
                if (clamped) __atomic_store_n(&job.kept->clamped, 1, __ATOMIC_RELAXED);
            }
        }
        u8* operand = bench.operand + i / BLOCK * plan.units * UNIT_BYTES + i % BLOCK * UNIT;
        write_operand(plan, bench.line, operand);
        sum_operand(plan, rows <= FEW_ROWS, operand, bench.sums + i * plan.segments);
    }
}

// A few tokens with the codes as they are stored.
void multiply_few(const Job& job, const Bench& bench, i64 row, i64 rows, i64 block) {
    const Plan& plan = job.plan;
    alignas(64) i32 sums[BLOCK * BLOCK];
    alignas(64) Totals totals;
    bool opens_group = true, first = true;
    for (i64 s = 0; s < plan.segments; ++s) {
        const Segment& segment = plan.segment[s];
        sum_block(job.hand, segment.bits, segment.blocks + block * segment.stride, bench.operand + segment.begin * UNIT_BYTES,
                  segment.end - segment.begin, rows, sums);
        flush(segment, bench.tokens, segment.zero ? bench.sums + s : 0, plan.segments, block, rows, sums, totals, opens_group,
              first);
        opens_group = segment.ends_group != 0;
        first = first && !opens_group;
    }
    store_totals(plan, totals.total, block, row, rows, job.call.y, job.call.y_type);
}

struct Panel {
    const i8* codes[2];  // of the segment at hand, by block
    i64 block, blocks;   // the first one and how many, 1 or 2
};

// Sums of up to 32 tokens and two blocks over a segment, as tiles 0 0, 0 1, 1 0, 1 1.
void sum_square(const Job& job, const Panel& panel, const u8* operand, i64 units, i64 rows, i32* sums) {
    const u8* second = rows > BLOCK ? operand + job.plan.units * UNIT_BYTES : operand;
    if (job.hand == TILES) return sum_tiles(panel.codes[0], panel.codes[1], operand, second, units, sums);
    for (i64 tile = 0; tile * BLOCK < rows; ++tile) {
        i64 mine = rows - tile * BLOCK < BLOCK ? rows - tile * BLOCK : BLOCK;
#if defined(__x86_64__) && defined(__AVX512BW__)
        if (job.hand == VNNI && panel.blocks == 2) {
            vnni::sum_segment_twice((const u8*)panel.codes[0], (const u8*)panel.codes[1], tile ? second : operand, units, mine,
                                    sums + tile * 2 * BLOCK * BLOCK);
            continue;
        }
#endif
        for (i64 b = 0; b < panel.blocks; ++b) {
            sum_block(job.hand, 8, (const u8*)panel.codes[b], tile ? second : operand, units, mine,
                      sums + (tile * 2 + b) * BLOCK * BLOCK);
        }
    }
}

// All tokens of a bundle with the outputs of one or two blocks.
void multiply_panel(const Job& job, const Bench& bench, i64 row, i64 rows, Panel panel) {
    const Plan& plan = job.plan;
    for (i64 s = 0; s < plan.segments; ++s) {
        const Segment& segment = plan.segment[s];
        for (i64 b = 0; b < panel.blocks && segment.bits < 8; ++b) {
            unpack_block(segment, panel.block + b, 0, segment.end - segment.begin,
                         bench.panel + (b * plan.units + segment.begin) * UNIT_BYTES);
        }
    }
    alignas(64) i32 sums[4 * BLOCK * BLOCK];
    alignas(64) Totals totals[4];
    for (i64 begin = 0; begin < rows; begin += 2 * BLOCK) {
        i64 here = rows - begin < 2 * BLOCK ? rows - begin : 2 * BLOCK;
        bool opens_group = true, first = true;
        for (i64 s = 0; s < plan.segments; ++s) {
            const Segment& segment = plan.segment[s];
            for (i64 b = 0; b < 2; ++b) {
                i64 mine = b < panel.blocks ? b : 0;
                panel.codes[b] = segment.bits < 8 ? bench.panel + (mine * plan.units + segment.begin) * UNIT_BYTES
                                              : (const i8*)segment.blocks + (panel.block + mine) * segment.stride;
            }
            const u8* operand = bench.operand + (begin / BLOCK * plan.units + segment.begin) * UNIT_BYTES;
            sum_square(job, panel, operand, segment.end - segment.begin, here, sums);
            for (i64 tile = 0; tile < 4; ++tile) {
                i64 at = begin + tile / 2 * BLOCK, left = rows - at < BLOCK ? rows - at : BLOCK;
                if (left <= 0 || tile % 2 >= panel.blocks) continue;
                const u32* operand_sums = segment.bits == 8 && segment.zero ? bench.sums + at * plan.segments + s : 0;
                flush(segment, bench.tokens + at, operand_sums, plan.segments, panel.block + tile % 2, left,
                      sums + tile * BLOCK * BLOCK, totals[tile], opens_group, first);
            }
            opens_group = segment.ends_group != 0;
            first = first && !opens_group;
        }
        for (i64 tile = 0; tile < 4; ++tile) {
            i64 at = begin + tile / 2 * BLOCK, left = rows - at < BLOCK ? rows - at : BLOCK;
            if (left <= 0 || tile % 2 >= panel.blocks) continue;
            store_totals(plan, totals[tile].total, panel.block + tile % 2, row + at, left, job.call.y, job.call.y_type);
        }
    }
}

// Rows [row, end) by blocks [block, last) of outputs.
void multiply(const Job& job, const Bench& bench, i64 row, i64 end, i64 block, i64 last) {
    i64 bundle = bundle_of(job.plan);
    for (; row < end; row += bundle) {
        i64 rows = end - row < bundle ? end - row : bundle;
        prepare(job, bench, row, rows);
        if (rows <= FEW_ROWS) {
            for (i64 b = block; b < last; ++b) multiply_few(job, bench, row, rows, b);
            continue;
        }
        if (job.hand == TILES) open_tiles();
        for (i64 b = block; b < last; b += 2) {
            multiply_panel(job, bench, row, rows, {{0, 0}, b, last - b < 2 ? last - b : 2});
        }
        if (job.hand == TILES) close_tiles();
    }
}

// All tokens of a call on all threads. `room` as `room_of` says.
inline i64 room_of(const Plan& plan, i64 rows) {
    i64 bundle = bundle_of(plan);
    return Bench().place(0, plan, rows < bundle ? rows : bundle) - (char*)0;
}

inline void multiply_all(const Job& job) {
    const Plan& plan = job.plan;
    const Call& call = job.call;
    i64 bundle = bundle_of(plan), tall = call.rows < bundle ? call.rows : bundle;
    i64 blocks = (plan.outputs + BLOCK - 1) / BLOCK;
    // Counts that are kept are written by one thread each.
    bool by_rows = job.kept || call.rows >= call.threads * 2 * BLOCK;
    auto body = [&](i64 begin, i64 end, i64 index) {
        Bench bench;
        bench.place(call.room + index * call.room_bytes, plan, tall);
        if (by_rows) multiply(job, bench, begin, end, 0, blocks);
        else multiply(job, bench, 0, call.rows, begin, end);
    };
    // An element of other functions takes as long as some 64 products.
    i64 cost = plan.units * UNIT / 64 * (by_rows ? plan.outputs : call.rows * BLOCK);
    i64 count = by_rows ? call.rows : blocks;
    in_parts(count, by_rows ? 2 * BLOCK : 2, parts_of(count, cost, call.threads), body);
}

inline Law law_of(const Plan& plan) {
    return {plan.salient, (float)plan.cap_lo, (float)plan.cap_hi, (float)plan.ratio, plan.own, plan.is_signed};
}

}  // namespace
