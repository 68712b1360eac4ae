// The spiking linear layer in training on the CPU, forward, in one call: float weights become codes, tokens become counts,
// both meet as integers, and what the backward needs is kept.
//
// Formula    that of product.cpp with weight codes of darkit_nb/functional/weight.py: per output
//            scale = max((hi - lo) / (2^bits - 1), 2^-100), zero = round(-lo / scale), c = clamp(round(w / scale) + zero) - zero,
//            lo <= 0 <= hi its extremes; values [O, D] = c * scale.
// Layout     x [R, D], weight [O, D] of any strides, y [R, O], centred counts [R, D] bytes, values [O, D], clamped [O, D].
// Order      a block of 16 outputs at a time to bytes in the order of product.h, then that of multiply.h.
// Numerics   codes, counts and values bit-equal to the definition; y is the exact sum, scaled in float32.

#include "multiply.h"

namespace {

// As darkit_nb/ops/_training_native.py writes it.
struct Training {
    const float *x, *weight, *bias;  // bias may be null
    i64 x_stride, rows, features, outputs, row_stride, column_stride, bits;
    const i32* salient;  // [D] or null
    i64 is_signed, cap_lo, cap_hi, ratio;
    float* y;
    i8* centred;
    float *scale, *values;
    u8* clamped;  // [O, D], of weights; null: only whether there is one is asked
    char* room;
    i64 most, threads;
};

// Codes of all outputs in the order of product.h, and what belongs to them.
struct Coded {
    i8* blocks;
    i32 *low, *high;
    float *scale, *bias;
    i32 clamped, broken;
};

struct Channel {
    float scale, zero;
};

// Scale and zero point of a row; a scale of 0 where a weight is no usual number.
Channel channel_of(const float* row, i64 features, float top) {
    Law law = {0, top, top, 0.0f, 0, 0};
    Rows rows = {law, features, row, 0};
    Ends ends = range_of(rows, EVERYONE);
    float scale = scale_of(ends, top), zero = round_even(-ends.lo / scale);
    return scale < 0x1p100f && zero == zero ? Channel{scale, zero} : Channel{0.0f, 0.0f};
}

// Codes of a vector of weights; their values and bytes. Whether one was clamped.
template <class V>
DK_INLINE typename Of<V>::Int code_weights(const Channel& channel, float top, const float* row, float* values, i8* codes, i64 j) {
    V code = round_even(read<V>(row + j) / channel.scale) + channel.zero, kept = code;
    kept = kept < 0.0f ? V{} : kept;
    kept = kept > top ? all<V>(top) : kept;
    V centred = kept - channel.zero;
    write(values + j, centred * channel.scale);
    write_as<i8>(codes + j, integers(centred));
    return kept != code;
}

// Output `o`: `line` holds its weights where they do not lie side by side, `codes` its codes.
void code_output(const Training& call, Coded& out, i64 o, float* line, i8* codes) {
    const float* row = call.weight + o * call.row_stride;
    if (call.column_stride != 1) {
        for (i64 j = 0; j < call.features; ++j) line[j] = row[j * call.column_stride];
        row = line;
    }
    const float top = (float)((1 << call.bits) - 1);
    Channel channel = channel_of(row, call.features, top);
    if (channel.scale == 0.0f) return __atomic_store_n(&out.broken, 1, __ATOMIC_RELAXED);
    float* values = call.values + o * call.features;
    WideInt wide = {};
    i32 any = 0;
    i64 j = 0;
    for (; j + WIDTH <= call.features; j += WIDTH) wide |= code_weights<Wide>(channel, top, row, values, codes, j);
    for (; j < call.features; ++j) any |= code_weights<float>(channel, top, row, values, codes, j);
    if (any || bits_of(wide != 0)) __atomic_store_n(&out.clamped, 1, __ATOMIC_RELAXED);
    i32 low = 0, high = 0;
    for (j = 0; j < call.features; ++j) {
        bool is_salient = call.salient && call.salient[j];
        (is_salient ? high : low) += codes[j];
        if (!call.clamped) continue;
        float code = round_even(row[j] / channel.scale) + channel.zero;
        call.clamped[o * call.features + j] = code < 0.0f || code > top;
    }
    out.low[o] = low, out.high[o] = high, out.scale[o] = channel.scale;
}

// Outputs of block `b`: lines of four features, each of all 16 outputs.
void code_block(const Training& call, Coded& out, i64 units, i64 b, float* line, i8* codes) {
    i8* to = out.blocks + b * units * UNIT_BYTES;
    for (i64 i = 0; i < BLOCK; ++i) {
        i64 o = b * BLOCK + i;
        memset(codes, 0, (size_t)(units * UNIT));
        if (o < call.outputs) code_output(call, out, o, line, codes);
        else out.low[o] = out.high[o] = 0, out.scale[o] = 0.0f;
        out.bias[o] = call.bias && o < call.outputs ? call.bias[o] : 0.0f;
        for (i64 four = 0; four < units * LINES; ++four) memcpy(to + four * UNIT + i * 4, codes + four * 4, 4);
    }
}

}  // namespace

// Without a room: how many bytes of it there have to be. Returns 1 where a count was clamped, 2 where a weight was, 3 where
// both were, and -1 where the weights have no codes; then nothing is written that may be used.
DK_EXPORT(dk_spike_training)(const Training* call) {
    i64 units = (call->features + UNIT - 1) / UNIT, blocks = (call->outputs + BLOCK - 1) / BLOCK;
    Segment segment = {0, units, call->salient != 0, 1, 8, 0, units * UNIT_BYTES, 0, 0, 0, 0};
    Plan plan = {call->features, call->outputs, units, 1, &segment, 0, 0, 0, call->salient, call->is_signed, call->cap_lo,
                 call->cap_hi, call->ratio, 0, call->salient != 0, units, 0};
    i64 bytes = room_of(plan, call->rows), own = call->features * 4 + units * UNIT + 128;
    bytes = (bytes > own ? bytes : own) / 64 * 64 + 64;
    i64 head = blocks * (units * UNIT_BYTES + 4 * BLOCK * 4);
    if (!call->room) return head + bytes * call->threads;
    i64 each = blocks * BLOCK;
    i32* sums = (i32*)(call->room + blocks * units * UNIT_BYTES);
    Coded coded = {(i8*)call->room, sums, sums + each, (float*)(sums + 2 * each), (float*)(sums + 3 * each), 0, 0};
    auto body = [&](i64 begin, i64 end, i64 index) {
        float* line = (float*)(call->room + head + index * bytes);
        for (i64 b = begin; b < end; ++b) code_block(*call, coded, units, b, line, (i8*)(line + call->features));
    };
    in_parts(blocks, 1, parts_of(blocks, BLOCK * call->features * 4, call->threads), body);
    if (coded.broken) return -1;
    segment.blocks = (const u8*)coded.blocks, segment.low = coded.low, segment.high = call->salient ? coded.high : 0;
    segment.weight_scale = coded.scale;
    plan.bias = call->bias ? coded.bias : 0;
    Call product = {&plan, call->x, FLOAT32, call->x_stride, 0, 0, 0, call->rows, call->y, FLOAT32, call->room + head, bytes,
                    call->most, 0, 0, call->threads};
    Kept kept = {call->centred, call->scale, 0};
    Job job = {plan, product, law_of(plan), hand_of(call->most), &kept};
    multiply_all(job);
    return kept.clamped + 2 * coded.clamped;
}

namespace {

// As darkit_nb/ops/_training_native.py writes it.
struct Decoding {
    const i8* centred;
    const float* scale;
    const i32* salient;
    i64 rows, features;
    float* values;
    i64 threads;
};

template <class V>
DK_INLINE V whole(const i8* from) {
    if constexpr (Of<V>::width == 1) return (float)*from;
    else return __builtin_convertvector(__builtin_convertvector(read<Small<i8, WIDTH>::type>(from), WideInt), Wide);
}

template <class V>
DK_INLINE void decode(const Decoding& call, i64 r, i64 j) {
    V scale = all<V>(call.scale[call.salient ? 2 * r : r]);
    if (call.salient) {
        scale = read<typename Of<V>::Int>(call.salient + j) != 0 ? all<V>(call.scale[2 * r + 1]) : scale;
    }
    write(call.values + r * call.features + j, whole<V>(call.centred + r * call.features + j) * scale);
}

}  // namespace

// The values of kept tokens: values [R, D] = centred [R, D] * scale [R, G].
DK_EXPORT(dk_spike_decode)(const Decoding* call) {
    auto body = [&](i64 begin, i64 end, i64) {
        for (i64 r = begin; r < end; ++r) {
            i64 j = 0;
            for (; j + WIDTH <= call->features; j += WIDTH) decode<Wide>(*call, r, j);
            for (; j < call->features; ++j) decode<float>(*call, r, j);
        }
    };
    in_parts(call->rows, 1, parts_of(call->rows, call->features / 2 + 1, call->threads), body);
    return 0;
}
