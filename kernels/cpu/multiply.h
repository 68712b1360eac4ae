// How tokens, encoded or given as counts, meet the codes of a weight: what product.cpp and training.cpp share.
//
// Order      tokens in bundles that stay in the cache with their counts; for each panel of blocks of outputs the codes are
//            unpacked once and meet all tokens of the bundle, whose results are written side by side. A few tokens meet the
//            codes as they are stored. Weights that read the same tokens share their counts.

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

const i64 BUNDLE_BYTES = 262144, MOST_BUNDLE = 256, FEW_ROWS = 8, PANEL_BYTES = 262144, MOST_PANEL = 32, FEW_SEGMENTS = 4;

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

// Blocks of outputs whose codes are unpacked at a time: an even number.
i64 panel_of(const Plan& plan) {
    i64 blocks = PANEL_BYTES / (plan.units * UNIT_BYTES) / 2 * 2;
    return blocks < 2 ? 2 : blocks > MOST_PANEL ? MOST_PANEL : blocks;
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
        panel = (i8*)take(at, panel_of(plan) * plan.units * UNIT_BYTES);
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

// A further weight whose operand and scales of tokens are those of the first one, and its results.
struct Sibling {
    const Plan* plan;
    void* y;
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
    i64 room_bytes, most;
    const Sibling* sibling;
    i64 siblings, threads;
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
void multiply_few(const Job& job, const Sibling& weight, const Bench& bench, i64 row, i64 rows, i64 block) {
    const Plan& plan = *weight.plan;
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
    store_totals(plan, totals.total, block, row, rows, weight.y, job.call.y_type);
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

// Up to 32 tokens of a bundle, from its token `begin`, with one or two blocks; `unpacked` are the codes of the first.
void multiply_square(const Job& job, const Sibling& weight, const Bench& bench, i64 row, i64 begin, i64 rows, Panel panel,
                     const i8* unpacked) {
    const Plan& plan = *weight.plan;
    const i64 tile_size = BLOCK * BLOCK, square = 4 * tile_size;
    bool few = plan.segments <= FEW_SEGMENTS, opens_group = true, first = true;
    alignas(64) i32 sums[FEW_SEGMENTS * square];
    alignas(64) Totals totals[4];
    auto each_tile = [&](auto&& body) {
        for (i64 tile = 0; tile < 4; ++tile) {
            i64 at = begin + tile / 2 * BLOCK, left = begin + rows - at < BLOCK ? begin + rows - at : BLOCK;
            if (left > 0 && tile % 2 < panel.blocks) body(tile, at, left, panel.block + tile % 2);
        }
    };
    for (i64 s = 0; s < plan.segments; ++s) {
        const Segment& segment = plan.segment[s];
        for (i64 b = 0; b < 2; ++b) {
            i64 mine = b < panel.blocks ? b : 0;
            panel.codes[b] = segment.bits < 8 ? unpacked + (mine * plan.units + segment.begin) * UNIT_BYTES
                                              : (const i8*)segment.blocks + (panel.block + mine) * segment.stride;
        }
        const u8* operand = bench.operand + (begin / BLOCK * plan.units + segment.begin) * UNIT_BYTES;
        i32* here = few ? sums + s * square : sums;
        sum_square(job, panel, operand, segment.end - segment.begin, rows, here);
        if (few) continue;
        each_tile([&](i64 tile, i64 at, i64 left, i64 block) {
            const u32* operand_sums = segment.bits == 8 && segment.zero ? bench.sums + at * plan.segments + s : 0;
            flush(segment, bench.tokens + at, operand_sums, plan.segments, block, left, here + tile * tile_size, totals[tile],
                  opens_group, first);
        });
        opens_group = segment.ends_group != 0;
        first = first && !opens_group;
    }
    each_tile([&](i64 tile, i64 at, i64 left, i64 block) {
        if (few) {
            finish(plan, bench.tokens + at, bench.sums + at * plan.segments, sums + tile * tile_size, square, block, row + at,
                   left, weight.y, job.call.y_type);
        } else {
            store_totals(plan, totals[tile].total, block, row + at, left, weight.y, job.call.y_type);
        }
    });
}

// All tokens of a bundle with the outputs of blocks [block, last).
void multiply_blocks(const Job& job, const Sibling& weight, const Bench& bench, i64 row, i64 rows, i64 block, i64 last) {
    const Plan& plan = *weight.plan;
    i64 wide = panel_of(plan);
    for (; block < last; block += wide) {
        i64 blocks = last - block < wide ? last - block : wide;
        for (i64 s = 0; s < plan.segments; ++s) {
            const Segment& segment = plan.segment[s];
            for (i64 b = 0; b < blocks && segment.bits < 8; ++b) {
                unpack_block(segment, block + b, 0, segment.end - segment.begin,
                             bench.panel + (b * plan.units + segment.begin) * UNIT_BYTES);
            }
        }
        for (i64 begin = 0; begin < rows; begin += 2 * BLOCK) {
            i64 here = rows - begin < 2 * BLOCK ? rows - begin : 2 * BLOCK;
            for (i64 b = 0; b < blocks; b += 2) {
                multiply_square(job, weight, bench, row, begin, here, {{0, 0}, block + b, blocks - b < 2 ? 1 : 2},
                                bench.panel + b * plan.units * UNIT_BYTES);
            }
        }
    }
}

inline i64 blocks_of(const Plan& plan) { return (plan.outputs + BLOCK - 1) / BLOCK; }

// Rows [row, end) by blocks [block, last) of the outputs of all weights, one after the other.
void multiply(const Job& job, const Bench& bench, i64 row, i64 end, i64 block, i64 last) {
    i64 bundle = bundle_of(job.plan);
    for (; row < end; row += bundle) {
        i64 rows = end - row < bundle ? end - row : bundle, before = 0;
        bool few = rows <= FEW_ROWS;
        prepare(job, bench, row, rows);
        if (job.hand == TILES && !few) open_tiles();
        for (i64 w = -1; w < job.call.siblings; ++w) {
            Sibling weight = w < 0 ? Sibling{&job.plan, job.call.y} : job.call.sibling[w];
            i64 count = blocks_of(*weight.plan), first = block > before ? block - before : 0;
            i64 behind = last - before < count ? last - before : count;
            if (few) {
                for (i64 b = first; b < behind; ++b) multiply_few(job, weight, bench, row, rows, b);
            } else {
                multiply_blocks(job, weight, bench, row, rows, first, behind);
            }
            before += count;
        }
        if (job.hand == TILES && !few) close_tiles();
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
    i64 blocks = blocks_of(plan);
    for (i64 w = 0; w < call.siblings; ++w) blocks += blocks_of(*call.sibling[w].plan);
    // Counts that are kept are written by one thread each.
    bool by_rows = job.kept || call.rows >= call.threads * 2 * BLOCK;
    auto body = [&](i64 begin, i64 end, i64 index) {
        Bench bench;
        bench.place(call.room + index * call.room_bytes, plan, tall);
        if (by_rows) multiply(job, bench, begin, end, 0, blocks);
        else multiply(job, bench, 0, call.rows, begin, end);
    };
    // An element of other functions takes as long as some 64 products.
    i64 cost = plan.units * UNIT / 64 * (by_rows ? blocks : call.rows) * BLOCK;
    i64 count = by_rows ? call.rows : blocks;
    in_parts(count, by_rows ? 2 * BLOCK : 2, parts_of(count, cost, call.threads), body);
}

inline Law law_of(const Plan& plan) {
    return {plan.salient, (float)plan.cap_lo, (float)plan.cap_hi, (float)plan.ratio, plan.own, plan.is_signed};
}

}  // namespace
