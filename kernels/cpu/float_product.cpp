// Float tokens times packed low-bit weights on the CPU, for many tokens: weights are decoded where they are multiplied.
//
// Formula    y[r, o] = sum over segments s of ws[o, s] * sum_j x[r, j] * c[o, j] + bias[o], c the centred codes;
//            darkit_nb/functional/weight.py: dequantise, then a product.
// Layout     x [R, D], rows `x_stride` elements apart; y [R, O]; weights as in product.h. As a tile's operand a token is a sum
//            of bfloat16 numbers, 3 for float32, 2 for float16, that loses nothing; codes are one each, up to ±256.
// Order      bundles of tokens; for each, panels of outputs; for each, runs of features whose codes become bfloat16 once and
//            meet all tokens of the bundle.
// Numerics   products are exact, sums float32 in an order of their own: as far from the exact value as any float product.
//            Numbers below 2^-126, as tokens or as what is left of one, count as 0.

#include "amx.h"
#include "gif_law.h"
#include "product.h"
#include "threads.h"
#include "transpose.h"

namespace {

const i64 BUNDLE = 256, PANEL_BLOCKS = 16, RUN_UNITS = 16, HALVES = 2, TILE_BYTES = UNIT_BYTES;

// As darkit_nb/ops/_product_native.py writes it.
struct Call {
    const Plan* plan;
    const void* x;
    i64 x_type, x_stride, rows;
    void* y;
    i64 y_type;
    char* room;
    i64 room_bytes, threads;
};

i64 pieces_of(i64 type) { return type == FLOAT32 ? 3 : type == FLOAT16 ? 2 : 1; }

// Features of a segment in ascending order: `kept` has a bit for each from `begin` to `end`; null where they are in another.
struct Chosen {
    const u16* kept;
    i64 begin, end;
};

// What one thread works in; the places of its parts follow one another.
struct Bench {
    float* wide;     // a token
    float* places;   // its features in the order of the places behind the plain ones
    u16* kept;       // the bits of all segments
    Chosen* chosen;  // of each segment
    u8* operand;     // [tokens / 16, units * 2, pieces] tiles
    u8* panel;       // [PANEL_BLOCKS, RUN_UNITS * 2] tiles
    float* totals;   // [tokens / 16, PANEL_BLOCKS] tiles

    // Where the room ends that begins at `at`.
    char* place(char* at, const Plan& plan, i64 rows, i64 pieces) {
        i64 tiles = (rows + 31) / 32 * 2;
        wide = (float*)take(at, plan.features * 4);
        places = (float*)take(at, ((plan.units - plan.plain) * UNIT + 16) * 4);
        kept = (u16*)take(at, plan.segments * (plan.features / 16 + 2) * 2);
        chosen = (Chosen*)take(at, plan.segments * (i64)sizeof(Chosen));
        operand = (u8*)take(at, tiles * plan.units * HALVES * pieces * TILE_BYTES);
        panel = (u8*)take(at, PANEL_BLOCKS * RUN_UNITS * HALVES * TILE_BYTES);
        totals = (float*)take(at, tiles * PANEL_BLOCKS * BLOCK * BLOCK * 4);
        return at;
    }

    static char* take(char*& at, i64 bytes) {
        char* mine = at;
        at += (bytes + 63) / 64 * 64;
        return mine;
    }
};

// The leading 8 bits of `value`, which becomes what is left of it. A NaN stays one, and nothing is left of infinity.
DK_INLINE WideBits leading(Wide& value) {
    Wide first = same_bits<Wide>(same_bits<WideBits>(value) & 0xffff0000u);
    Wide rest = value - first;
    WideBits bits = same_bits<WideBits>(value != value ? value + value : first) >> 16;
    bits = value != value ? bits | 0x40u : bits;
    value = rest == rest ? rest : Wide{};
    return bits;
}

// 64 features of a token, as its row of two halves of an operand.
void write_pieces(const float* features, i64 pieces, u8* out) {
    for (i64 j = 0; j < UNIT; j += WIDTH) {
        Wide value = read<Wide>(features + j);
        u8* at = out + j / 32 * pieces * TILE_BYTES + j % 32 * 2;
        for (i64 piece = 0; piece < pieces; ++piece) {
            write(at + piece * TILE_BYTES, __builtin_convertvector(leading(value), Small<u16, WIDTH>::type));
        }
    }
}

// Which of the features a segment holds, if it holds them in ascending order.
Chosen chosen_of(const Plan& plan, const Segment& segment, u16* kept) {
    const i32* order = plan.order + (segment.begin - plan.plain) * UNIT;
    i64 count = 0, places = (segment.end - segment.begin) * UNIT;
    while (count < places && order[count] < plan.features && (!count || order[count - 1] < order[count])) ++count;
    if (!count || (count < places && order[count] < plan.features)) return {0, 0, 0};
    Chosen chosen = {kept, order[0] / 16 * 16, order[count - 1] + 1};
    memset(kept, 0, (size_t)((chosen.end - chosen.begin + 15) / 16 * 2));
    for (i64 at = 0; at < count; ++at) {
        i64 behind = order[at] - chosen.begin;
        kept[behind / 16] |= (u16)(1 << behind % 16);
    }
    return chosen;
}

// The chosen features of a token, side by side, and how many; up to 15 numbers behind them are written too.
i64 squeeze(const float* x, const Chosen& chosen, float* out) {
    float* at = out;
#ifdef __AVX512F__
    for (i64 j = chosen.begin; j < chosen.end; j += 16) {
        i64 left = chosen.end - j;
        __mmask16 kept = chosen.kept[(j - chosen.begin) / 16], inside = (__mmask16)(left < 16 ? (1 << left) - 1 : 0xffff);
        _mm512_storeu_ps(at, _mm512_maskz_compress_ps(kept, _mm512_maskz_loadu_ps(inside, x + j)));
        at += __builtin_popcount(kept);
    }
#else
    for (i64 j = chosen.begin; j < chosen.end; ++j) {
        if (chosen.kept[(j - chosen.begin) / 16] >> (j - chosen.begin) % 16 & 1) *at++ = x[j];
    }
#endif
    return at - out;
}

// A token's features in the order of the places behind the plain ones, in `bench.places`.
void sort_places(const Plan& plan, const Bench& bench, const float* x) {
    for (i64 s = 0; s < plan.segments; ++s) {
        const Segment& segment = plan.segment[s];
        if (segment.begin < plan.plain) continue;
        i64 count = (segment.end - segment.begin) * UNIT;
        float* out = bench.places + (segment.begin - plan.plain) * UNIT;
        if (bench.chosen[s].kept) {
            i64 found = squeeze(x, bench.chosen[s], out);
            memset(out + found, 0, (size_t)(count - found) * 4);
            continue;
        }
        const i32* order = plan.order + (segment.begin - plan.plain) * UNIT;
        for (i64 k = 0; k < count; ++k) out[k] = order[k] < plan.features ? x[order[k]] : 0.0f;
    }
}

// Rows [row, row + rows) as operand.
void prepare(const Call& call, const Bench& bench, i64 row, i64 rows) {
    const Plan& plan = *call.plan;
    i64 pieces = pieces_of(call.x_type);
    alignas(64) float tail[UNIT];
    u16* kept = bench.kept;
    for (i64 s = 0; s < plan.segments; ++s) {
        if (plan.segment[s].begin < plan.plain) continue;
        Chosen chosen = bench.chosen[s] = chosen_of(plan, plan.segment[s], kept);
        kept += (chosen.end - chosen.begin + 15) / 16;
    }
    for (i64 i = 0; i < rows; ++i) {
        const float* x = widened_row(call.x, call.x_type, (row + i) * call.x_stride, plan.features, bench.wide);
        sort_places(plan, bench, x);
        u8* out = bench.operand + i / BLOCK * plan.units * HALVES * pieces * TILE_BYTES + i % BLOCK * UNIT;
        for (i64 unit = 0; unit < plan.units; ++unit, out += HALVES * pieces * TILE_BYTES) {
            const float* from = x + unit * UNIT;
            i64 left = plan.features - unit * UNIT;
            if (unit >= plan.plain) {
                from = bench.places + (unit - plan.plain) * UNIT;
            } else if (left < UNIT) {
                memset(tail, 0, sizeof tail);
                memcpy(tail, from, (size_t)left * 4);
                from = tail;
            }
            write_pieces(from, pieces, out);
        }
    }
}

// Codes of units [begin, end) of a block of a segment, centred, as bfloat16: two tiles a unit, lines of two features.
void widen_codes(const Segment& segment, i64 block, i64 begin, i64 end, u8* out) {
    i64 each = 8 / segment.bits;
    bool is_byte = segment.bits == 8;
    u32 mask = (1u << segment.bits) - 1u;
    for (i64 v = 0; v < BLOCK; v += WIDTH) {
        WideInt zero = segment.zero ? read<WideInt>(segment.zero + block * BLOCK + v) : WideInt{};
        for (i64 unit = begin; unit < end; ++unit) {
            const u8* from = segment.blocks + block * segment.stride + unit / each * UNIT_BYTES + v * 4;
            u32 shift = (u32)(unit % each * segment.bits);
            u8* to = out + (unit - begin) * HALVES * TILE_BYTES + v * 4;
            for (i64 line = 0; line < LINES; ++line) {
                WideBits packed = read<WideBits>(from + line * UNIT) >> shift, wide[4];
                for (u32 k = 0; k < 4; ++k) {
                    WideInt code = is_byte ? (WideInt)(packed << (24 - 8 * k)) >> 24 : (WideInt)(packed >> (8 * k) & mask);
                    wide[k] = same_bits<WideBits>(__builtin_convertvector(code - zero, Wide));
                }
                write(to + line * 2 * UNIT, wide[0] >> 16 | (wide[1] & 0xffff0000u));
                write(to + line * 2 * UNIT + UNIT, wide[2] >> 16 | (wide[3] & 0xffff0000u));
            }
        }
    }
}

// A tile of sums over a run of features, times the scales of the weights, becomes part of its totals.
void add_scaled(const float* sums, const float* scale, float* totals) {
    for (i64 v = 0; v < BLOCK; v += WIDTH) {
        Wide factor = read<Wide>(scale + v);
        for (i64 i = v; i < BLOCK * BLOCK; i += BLOCK) {
            write(totals + i, read<Wide>(totals + i) + read<Wide>(sums + i) * factor);
        }
    }
}

// All tokens of a bundle with units [begin, end) of a segment and `blocks` blocks of outputs from `block`.
void multiply_run(const Call& call, const Bench& bench, const Segment& segment, i64 begin, i64 end, i64 rows, i64 block,
                  i64 blocks) {
    const Plan& plan = *call.plan;
    const i64 run = RUN_UNITS * HALVES * TILE_BYTES;
    i64 pieces = pieces_of(call.x_type), tall = plan.units * HALVES * pieces * TILE_BYTES;
    for (i64 b = 0; b < blocks; ++b) widen_codes(segment, block + b, begin, end, bench.panel + b * run);
    alignas(64) float sums[4 * BLOCK * BLOCK];
    for (i64 tile = 0; tile * BLOCK < rows; tile += 2) {
        const u8* operand = bench.operand + tile * tall + (segment.begin + begin) * HALVES * pieces * TILE_BYTES;
        const u8* second = (tile + 1) * BLOCK < rows ? operand + tall : operand;
        for (i64 b = 0; b < blocks; b += 2) {
            const u8* weights = bench.panel + b * run;
            i64 pair = b + 1 < blocks ? 2 : 1;
            sum_float_tiles(weights, weights + (pair - 1) * run, operand, second, (end - begin) * HALVES, pieces, sums);
            for (i64 part = 0; part < 4; ++part) {
                if (part % 2 >= pair) continue;
                i64 at = (tile + part / 2) * PANEL_BLOCKS + b + part % 2;
                add_scaled(sums + part * BLOCK * BLOCK, segment.weight_scale + (block + b + part % 2) * BLOCK,
                           bench.totals + at * BLOCK * BLOCK);
            }
        }
    }
}

// Rows [row, end) by blocks [block, last) of outputs.
void multiply(const Call& call, const Bench& bench, i64 row, i64 end, i64 block, i64 last) {
    const Plan& plan = *call.plan;
    for (; row < end; row += BUNDLE) {
        i64 rows = end - row < BUNDLE ? end - row : BUNDLE;
        prepare(call, bench, row, rows);
        for (i64 first = block; first < last; first += PANEL_BLOCKS) {
            i64 blocks = last - first < PANEL_BLOCKS ? last - first : PANEL_BLOCKS;
            memset(bench.totals, 0, (size_t)((rows + 31) / 32 * 2 * PANEL_BLOCKS * BLOCK * BLOCK * 4));
            for (i64 s = 0; s < plan.segments; ++s) {
                const Segment& segment = plan.segment[s];
                for (i64 unit = 0; unit < segment.end - segment.begin; unit += RUN_UNITS) {
                    i64 left = segment.end - segment.begin - unit, wide = left < RUN_UNITS ? left : RUN_UNITS;
                    multiply_run(call, bench, segment, unit, unit + wide, rows, first, blocks);
                }
            }
            for (i64 i = 0; i < rows; i += BLOCK) {
                for (i64 b = 0; b < blocks; ++b) {
                    const float* tile = bench.totals + (i / BLOCK * PANEL_BLOCKS + b) * BLOCK * BLOCK;
                    store_totals(plan, (const float(*)[BLOCK])tile, first + b, row + i, rows - i < BLOCK ? rows - i : BLOCK,
                                 call.y, call.y_type);
                }
            }
        }
    }
}

// As darkit_nb/ops/_product_native.py writes it.
struct Values {
    const Plan* plan;
    i64 block, blocks;
    float* out;  // [outputs of these blocks, D]
    i64 threads;
};

// The codes of a unit, lines of four features of every output, as 64 bytes an output.
void gather_outputs(const i8* codes, i8* out) {
    for (i64 o = 0; o < BLOCK; o += WIDTH) {
        for (i64 line = 0; line < LINES; line += WIDTH) {
            Wide part[WIDTH];
            for (i64 i = 0; i < WIDTH; ++i) part[i] = read<Wide>(codes + (line + i) * UNIT + o * 4);
            turn(part);
            for (i64 i = 0; i < WIDTH; ++i) write(out + (o + i) * UNIT + line * 4, part[i]);
        }
    }
}

// 64 values where their features belong.
void place_values(const Plan& plan, i64 unit, const float* values, float* row) {
    if (unit < plan.plain) {
        i64 left = plan.features - unit * UNIT;
        memcpy(row + unit * UNIT, values, (size_t)(left < UNIT ? left : UNIT) * 4);
        return;
    }
    const i32* order = plan.order + (unit - plan.plain) * UNIT;
    i64 run = plan.run[unit - plan.plain];
    if (run) memcpy(row + order[0], values, (size_t)run * 4);
    else for (i64 k = 0; k < UNIT; ++k) if (order[k] < plan.features) row[order[k]] = values[k];
}

void decode(const Plan& plan, i64 block, float* out) {
    alignas(64) i8 room[UNIT_BYTES], codes[UNIT_BYTES];
    alignas(64) float values[UNIT];
    for (i64 s = 0; s < plan.segments; ++s) {
        const Segment& segment = plan.segment[s];
        bool is_byte = segment.bits == 8;
        for (i64 unit = 0; unit < segment.end - segment.begin; ++unit) {
            if (!is_byte) unpack_block(segment, block, unit, unit + 1, room);
            gather_outputs(is_byte ? (const i8*)segment.blocks + block * segment.stride + unit * UNIT_BYTES : room, codes);
            for (i64 o = 0; o < BLOCK && block * BLOCK + o < plan.outputs; ++o) {
                i32 zero = is_byte && segment.zero ? segment.zero[block * BLOCK + o] : 0;
                float scale = segment.weight_scale[block * BLOCK + o];
                for (i64 j = 0; j < UNIT; j += WIDTH) {
                    auto code = __builtin_convertvector(read<Small<i8, WIDTH>::type>(codes + o * UNIT + j), WideInt) - zero;
                    write(values + j, __builtin_convertvector(code, Wide) * scale);
                }
                place_values(plan, segment.begin + unit, values, out + o * plan.features);
            }
        }
    }
}

}  // namespace

// Without a room: how many bytes of it a thread needs, 0 where this processor has no tiles for floats.
DK_EXPORT(dk_float_product)(const Call* call) {
    const Plan& plan = *call->plan;
    i64 tall = call->rows < BUNDLE ? call->rows : BUNDLE, pieces = pieces_of(call->x_type);
    if (!call->room) return float_tiles_ready() ? Bench().place(0, plan, tall, pieces) - (char*)0 : 0;
    i64 blocks = (plan.outputs + BLOCK - 1) / BLOCK;
    bool by_rows = call->rows >= call->threads * 4 * BLOCK;
    auto body = [&](i64 begin, i64 end, i64 index) {
        Bench bench;
        bench.place(call->room + index * call->room_bytes, plan, tall, pieces);
        open_tiles();
        if (by_rows) multiply(*call, bench, begin, end, 0, blocks);
        else multiply(*call, bench, 0, call->rows, begin, end);
        close_tiles();
    };
    i64 cost = plan.units * UNIT / 16 * (by_rows ? plan.outputs : call->rows * BLOCK), count = by_rows ? call->rows : blocks;
    in_parts(count, by_rows ? 2 * BLOCK : 2, parts_of(count, cost, call->threads), body);
    return 0;
}

// The values of the outputs of some blocks, to be multiplied by others.
DK_EXPORT(dk_weight_values)(const Values* call) {
    const Plan& plan = *call->plan;
    auto body = [&](i64 begin, i64 end, i64) {
        for (i64 b = begin; b < end; ++b) decode(plan, call->block + b, call->out + b * BLOCK * plan.features);
    };
    in_parts(call->blocks, 1, parts_of(call->blocks, plan.units * UNIT * BLOCK, call->threads), body);
    return 0;
}
