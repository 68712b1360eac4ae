// A weight with learned scales and learned clipping on the CPU: its coded values, and the gradient of all that is learned.
//
// Formula    v = w s / r; of every output and group of neighbouring features the extremes lo <= 0 <= hi of v, then
//            lo' = l lo, hi' = h hi, scale = max((hi' - lo') / top, 2^-100), zero = round(-lo' / scale),
//            value = (clamp(round(v / scale) + zero, 0, top) - zero) scale; stated in darkit_nb/functional/clipping.py.
// Layout     weight [O, D], each row contiguous, rows `stride` elements apart; reads (s) [D] and writes (r) [O] or null;
//            lower (l), upper (h) [O, G]; values, grad [O, D] contiguous; ends [O, G, 2], the extremes of v.
// Order      a row at a time, which stays in the cache; sums over outputs by CHUNK rows, whatever the number of threads.
// Numerics   float32, IEEE division: values bit-equal to the definition; sums over a row run in the order of vectors.

#include "gif_law.h"
#include "threads.h"

namespace {

const i64 CHUNK = 32;  // as in darkit_nb/ops/_clipping_native.py

struct Source {
    const float* weight;
    i64 stride, outputs, features, group;  // features of a group; the last one may have fewer
    const float *reads, *writes, *lower, *upper;
    i64 top;
};

// As darkit_nb/ops/_clipping_native.py writes it.
struct Forward {
    Source from;
    float *values, *ends;
    i64 threads;
};

// As darkit_nb/ops/_clipping_native.py writes it.
struct Backward {
    Source from;
    float *values, *ends;
    float* grad;  // of the values; becomes that of v
    float *lower, *upper, *reads, *writes;  // gradients: of l, h [O, G]; of s in chunks of rows [C, D], of r [O], or null
    i64 threads;
};

// One group of one output.
struct Part {
    i64 begin, end;
    float lo, hi, lower, upper;       // extremes, and the shares of them that are kept
    float scale, inverse, zero, top;
    bool at_floor;
};

Part part_of(const Source& from, i64 begin, Ends ends, float lower, float upper) {
    i64 end = begin + from.group < from.features ? begin + from.group : from.features;
    float top = (float)from.top, lo = ends.lo > 0.0f ? 0.0f : ends.lo, hi = ends.hi < 0.0f ? 0.0f : ends.hi;
    float reach = (hi * upper - lo * lower) / top, scale = reach < SCALE_FLOOR ? SCALE_FLOOR : reach;
    float zero = round_even(-(lo * lower) / scale);
    return {begin, end, ends.lo, ends.hi, lower, upper, scale, inverse_of(scale), zero, top, reach < SCALE_FLOOR};
}

template <class V>
DK_INLINE V scaled(const Source& from, const float* row, float divisor, i64 j) {
    V value = read<V>(row + j);
    if (from.reads) value = value * read<V>(from.reads + j);
    return from.writes ? value / divisor : value;
}

// v of output o.
DK_INLINE void scale_row(const Source& from, i64 o, float* out) {
    const float* row = from.weight + o * from.stride;
    float divisor = from.writes ? from.writes[o] : 1.0f;
    i64 j = 0;
    for (; j + WIDTH <= from.features; j += WIDTH) write(out + j, scaled<Wide>(from, row, divisor, j));
    for (; j < from.features; ++j) out[j] = scaled<float>(from, row, divisor, j);
}

template <class V>
DK_INLINE V code_of(V value, const Part& part) {
    return rounded_quotient(value, all<V>(part.scale), all<V>(part.inverse)) + part.zero;
}

template <class V>
DK_INLINE V kept_of(V code, const Part& part) {
    code = code < 0.0f ? V{} : code;
    return code > part.top ? all<V>(part.top) : code;
}

template <class V>
DK_INLINE void code_in_place(const Part& part, float* row, i64 j) {
    write(row + j, (kept_of(code_of(read<V>(row + j), part), part) - part.zero) * part.scale);
}

void forward_row(const Forward& call, i64 o) {
    const Source& from = call.from;
    i64 groups = (from.features + from.group - 1) / from.group;
    float* row = call.values + o * from.features;
    scale_row(from, o, row);
    for (i64 g = 0; g < groups; ++g) {
        i64 at = o * groups + g, begin = g * from.group;
        i64 end = begin + from.group < from.features ? begin + from.group : from.features;
        Rows rows = {{0, 0.0f, 0.0f, 0.0f, 0, 0}, end - begin, row + begin, 0};
        Ends ends = extremes(rows, EVERYONE, {__builtin_inff(), -__builtin_inff()});
        call.ends[2 * at] = ends.lo, call.ends[2 * at + 1] = ends.hi;
        Part part = part_of(from, begin, ends, from.lower[at], from.upper[at]);
        i64 j = begin;
        for (; j + WIDTH <= end; j += WIDTH) code_in_place<Wide>(part, row, j);
        for (; j < end; ++j) code_in_place<float>(part, row, j);
    }
}

DK_INLINE float total(float value) { return value; }
DK_INLINE float total(Wide value) {
    float sum = 0.0f;
    for (i64 w = 0; w < WIDTH; ++w) sum += value[w];
    return sum;
}

// Sums over a group: of what its values give to the scale, of the gradient of clamped codes, of those equal to each end.
template <class V>
struct Sums {
    V scale, clamped, low, high;
};

template <class V>
DK_INLINE void add_terms(const Part& part, const float* row, const float* grad, i64 j, Sums<V>& sums) {
    V value = read<V>(row + j), given = read<V>(grad + j), one = all<V>(1.0f);
    V code = code_of(value, part), kept = kept_of(code, part);
    auto inside = kept == code;
    sums.scale += given * (kept - part.zero - (inside ? value / part.scale : V{}));
    sums.clamped += inside ? V{} : given;
    sums.low += value == part.lo ? one : V{};
    sums.high += value == part.hi ? one : V{};
}

// What each value equal to an end receives.
struct Ended {
    float low, high;
};

Ended differentiate_ends(const Part& part, const Sums<float>& sums, float* lower, float* upper) {
    float lo = part.lo > 0.0f ? 0.0f : part.lo, hi = part.hi < 0.0f ? 0.0f : part.hi;
    float of_zero = -part.scale * sums.clamped, of_scale = sums.scale + of_zero * (lo * part.lower) / part.scale / part.scale;
    float shared = part.at_floor ? 0.0f : of_scale / part.top;
    float of_low = -of_zero / part.scale - shared;
    *lower = of_low * lo, *upper = shared * hi;
    return {part.lo > 0.0f ? 0.0f : of_low * part.lower / sums.low, part.hi < 0.0f ? 0.0f : shared * part.upper / sums.high};
}

// Gradient of v, what it gives to the scales, and the coded value in the place of v.
template <class V>
DK_INLINE void finish(const Backward& call, const Part& part, Ended ended, const float* weight, float divisor, float* row,
                      float* grad, float* columns, i64 j, V& products) {
    V value = read<V>(row + j), code = code_of(value, part), kept = kept_of(code, part);
    V out = kept == code ? read<V>(grad + j) : V{};
    out += value == part.lo ? all<V>(ended.low) : V{};
    out += value == part.hi ? all<V>(ended.high) : V{};
    write(grad + j, out);
    write(row + j, (kept - part.zero) * part.scale);
    if (columns) {
        V term = out * read<V>(weight + j);
        write(columns + j, read<V>(columns + j) + (call.from.writes ? term / divisor : term));
    }
    products += out * value;
}

void backward_row(const Backward& call, i64 o) {
    const Source& from = call.from;
    i64 groups = (from.features + from.group - 1) / from.group;
    float *row = call.values + o * from.features, *grad = call.grad + o * from.features;
    float* columns = call.reads ? call.reads + o / CHUNK * from.features : 0;
    const float* weight = from.weight + o * from.stride;
    float divisor = from.writes ? from.writes[o] : 1.0f, products = 0.0f;
    scale_row(from, o, row);
    for (i64 g = 0; g < groups; ++g) {
        i64 at = o * groups + g;
        Ends ends = {call.ends[2 * at], call.ends[2 * at + 1]};
        Part part = part_of(from, g * from.group, ends, from.lower[at], from.upper[at]);
        Sums<Wide> wide = {};
        Sums<float> sums = {};
        i64 j = part.begin;
        for (; j + WIDTH <= part.end; j += WIDTH) add_terms(part, row, grad, j, wide);
        for (; j < part.end; ++j) add_terms(part, row, grad, j, sums);
        sums = {sums.scale + total(wide.scale), sums.clamped + total(wide.clamped), sums.low + total(wide.low),
                sums.high + total(wide.high)};
        Ended ended = differentiate_ends(part, sums, call.lower + at, call.upper + at);
        Wide product = {};
        for (j = part.begin; j + WIDTH <= part.end; j += WIDTH)
            finish(call, part, ended, weight, divisor, row, grad, columns, j, product);
        for (; j < part.end; ++j) finish(call, part, ended, weight, divisor, row, grad, columns, j, products);
        products += total(product);
    }
    if (call.writes) call.writes[o] = -products / divisor;
}

}  // namespace

DK_EXPORT(dk_clip_forward)(const Forward* call) {
    auto body = [&](i64 begin, i64 end, i64) {
        for (i64 o = begin; o < end; ++o) forward_row(*call, o);
    };
    in_parts(call->from.outputs, 1, parts_of(call->from.outputs, call->from.features, call->threads), body);
    return 0;
}

// `values` are written again: the backward of the tokens needs them, and nobody kept them.
DK_EXPORT(dk_clip_backward)(const Backward* call) {
    auto body = [&](i64 begin, i64 end, i64) {
        for (i64 o = begin; o < end; ++o) {
            if (call->reads && o % CHUNK == 0) memset(call->reads + o / CHUNK * call->from.features, 0, (size_t)call->from.features * 4);
            backward_row(*call, o);
        }
    };
    in_parts(call->from.outputs, CHUNK, parts_of(call->from.outputs, call->from.features, call->threads), body);
    return 0;
}
