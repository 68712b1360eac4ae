// Orthogonal mixing of the features of a token on the CPU without its matrix: axes of a box, one after the other.
//
// Formula    y = (x * before) · blockdiag(B_1, B_2, …) * after; a block is a box of its features, and each step mixes one
//            axis of it, by Walsh–Hadamard butterflies (sums and differences) or by a small matrix M: y_k = sum_j x_j M[j, k];
//            darkit_nb/functional/rotation.py.
// Layout     x [R, D], rows `x_stride` elements apart; y [R, D]; before, after [D] or null; M [size, size].
// Order      as many tokens as a vector has elements lie side by side, feature by feature, and are read and written once;
//            a few tokens are mixed as they lie.
// Numerics   float32; every output by the same additions in the same order, alone or among others, on any instruction set.

#include "threads.h"
#include "transpose.h"

namespace {

// As darkit_nb/ops/rotation.py writes it: the features from `begin` are a box [outer, size, inner] whose middle axis is mixed.
struct Step {
    i64 begin, outer, size, inner;
    const float* matrix;  // null: butterflies, size a power of two
};

struct Call {
    const Step* step;
    i64 steps;
    const void* x;
    i64 x_type, x_stride, rows, features;
    const float *before, *after;
    i64 cut;     // from this feature on a token is cut to a share of its range, functional/rotation.py: narrow_range
    float keep;  // which; 1 leaves it
    void* y;
    i64 y_type;
    char* room;  // for every thread `room_bytes`: WIDTH tokens side by side, then an axis of them
    i64 room_bytes, threads;
};

// LEVELS levels of butterflies at one place; in the first one partners lie `half` apart.
template <i64 LEVELS, class V>
DK_INLINE void butterfly(float* at, i64 half) {
    const i64 points = 1 << LEVELS;
    V value[points];
    for (i64 p = 0; p < points; ++p) value[p] = read<V>(at + p * half);
    for (i64 level = 1; level < points; level *= 2) {
        for (i64 p = 0; p < points; ++p) {
            if (p & level) continue;
            V one = value[p], other = value[p + level];
            value[p] = one + other, value[p + level] = one - other;
        }
    }
    for (i64 p = 0; p < points; ++p) write(at + p * half, value[p]);
}

template <i64 LEVELS>
void butterflies(float* data, i64 count, i64 half) {
    for (float* end = data + count; data < end; data += half << LEVELS) {
        i64 i = 0;
        for (; i + WIDTH <= half; i += WIDTH) butterfly<LEVELS, Wide>(data + i, half);
        for (; i < half; ++i) butterfly<LEVELS, float>(data + i, half);
    }
}

void mix_by_butterflies(float* data, i64 outer, i64 size, i64 run) {
    i64 count = outer * size * run, half = run, end = size * run;
    for (; half * 8 <= end; half *= 8) butterflies<3>(data, count, half);
    if (half * 4 == end) butterflies<2>(data, count, half);
    else if (half * 2 == end) butterflies<1>(data, count, half);
}

// Outputs k … k + COUNT of an axis at one place of the features behind it.
template <i64 COUNT, class V>
DK_INLINE void weigh(const V* value, const float* matrix, i64 size, i64 k, float* to, i64 run) {
    V sums[COUNT];
    for (i64 c = 0; c < COUNT; ++c) sums[c] = value[0] * matrix[k + c];
    for (i64 j = 1; j < size; ++j) {
        for (i64 c = 0; c < COUNT; ++c) sums[c] = sums[c] + value[j] * matrix[j * size + k + c];
    }
    for (i64 c = 0; c < COUNT; ++c) write(to + (k + c) * run, sums[c]);
}

// The axis at `at`, whose elements lie `run` apart.
template <class V>
void mix_axis(float* at, const float* matrix, i64 size, i64 run, float* room) {
    V* value = (V*)room;
    for (i64 j = 0; j < size; ++j) value[j] = read<V>(at + j * run);
    i64 k = 0;
    for (; k + 8 <= size; k += 8) weigh<8, V>(value, matrix, size, k, at, run);
    if (k + 4 <= size) weigh<4, V>(value, matrix, size, k, at, run), k += 4;
    for (; k < size; ++k) weigh<1, V>(value, matrix, size, k, at, run);
}

// The same where its elements are neighbours: a vector of outputs at a time.
template <class V>
DK_INLINE void weigh_line(const float* value, const float* matrix, i64 size, i64 k, float* to) {
    V sum = read<V>(matrix + k) * value[0];
    for (i64 j = 1; j < size; ++j) sum = sum + read<V>(matrix + j * size + k) * value[j];
    write(to + k, sum);
}

void mix_line(float* at, const float* matrix, i64 size, float* room) {
    memcpy(room, at, (size_t)size * 4);
    i64 k = 0;
    for (; k + WIDTH <= size; k += WIDTH) weigh_line<Wide>(room, matrix, size, k, at);
    for (; k < size; ++k) weigh_line<float>(room, matrix, size, k, at);
}

void mix_by_matrix(float* data, const Step& step, i64 run, float* room) {
    for (i64 o = 0; o < step.outer; ++o, data += step.size * run) {
        if (run == 1) {
            mix_line(data, step.matrix, step.size, room);
            continue;
        }
        i64 i = 0;
        for (; i + WIDTH <= run; i += WIDTH) mix_axis<Wide>(data + i, step.matrix, step.size, run, room);
        for (; i < run; ++i) mix_axis<float>(data + i, step.matrix, step.size, run, room);
    }
}

// All steps over `lanes` tokens side by side.
void mix(const Call& call, float* data, i64 lanes, float* room) {
    for (i64 s = 0; s < call.steps; ++s) {
        const Step& step = call.step[s];
        float* from = data + step.begin * lanes;
        if (step.matrix) mix_by_matrix(from, step, step.inner * lanes, room);
        else mix_by_butterflies(from, step.outer, step.size, step.inner * lanes);
    }
}

// Numbers of V tokens side by side, `lanes` apart, from feature `cut` on.
template <class V>
void narrow(const Call& call, float* data, i64 lanes) {
    V low = {}, high = {};
    typename Of<V>::Int broken = {};
    for (i64 j = call.cut; j < call.features; ++j) {
        V value = read<V>(data + j * lanes);
        low = value < low ? value : low, high = value > high ? value : high;
        broken |= value != value;
    }
    low = low * call.keep, high = high * call.keep;
    for (i64 j = call.cut; j < call.features; ++j) {
        V value = read<V>(data + j * lanes);
        value = value < low ? low : value > high ? high : value;
        write(data + j * lanes, broken != 0 ? all<V>(__builtin_nanf("")) : value);
    }
}

template <class V>
DK_INLINE V scaled(V value, const float* factor, i64 j) {
    return factor ? value * read<V>(factor + j) : value;
}

// Up to WIDTH rows from `row`, side by side.
void gather(const Call& call, i64 row, i64 rows, float* lanes) {
    i64 j = 0;
    for (; j + WIDTH <= call.features; j += WIDTH) {
        Wide part[WIDTH];
        for (i64 i = 0; i < WIDTH; ++i) {
            // Missing rows are copies of the last one.
            i64 from = row + (i < rows ? i : rows - 1);
            part[i] = scaled(load<Wide>(call.x, call.x_type, from * call.x_stride + j), call.before, j);
        }
        turn(part);
        for (i64 i = 0; i < WIDTH; ++i) write(lanes + (j + i) * WIDTH, part[i]);
    }
    for (; j < call.features; ++j) {
        for (i64 i = 0; i < WIDTH; ++i) {
            i64 from = row + (i < rows ? i : rows - 1);
            lanes[j * WIDTH + i] = scaled(load<float>(call.x, call.x_type, from * call.x_stride + j), call.before, j);
        }
    }
}

void scatter(const Call& call, i64 row, i64 rows, const float* lanes) {
    i64 j = 0;
    for (; j + WIDTH <= call.features; j += WIDTH) {
        Wide part[WIDTH];
        for (i64 i = 0; i < WIDTH; ++i) part[i] = read<Wide>(lanes + (j + i) * WIDTH);
        turn(part);
        for (i64 i = 0; i < rows; ++i) {
            store(call.y, call.y_type, (row + i) * call.features + j, scaled(part[i], call.after, j));
        }
    }
    for (; j < call.features; ++j) {
        for (i64 i = 0; i < rows; ++i) {
            store(call.y, call.y_type, (row + i) * call.features + j, scaled(lanes[j * WIDTH + i], call.after, j));
        }
    }
}

// One row where it lies.
void mix_row(const Call& call, i64 row, float* line, float* room) {
    i64 j = 0, from = row * call.x_stride, to = row * call.features;
    for (; j + WIDTH <= call.features; j += WIDTH) {
        write(line + j, scaled(load<Wide>(call.x, call.x_type, from + j), call.before, j));
    }
    for (; j < call.features; ++j) line[j] = scaled(load<float>(call.x, call.x_type, from + j), call.before, j);
    mix(call, line, 1, room);
    if (call.keep != 1.0f) narrow<float>(call, line, 1);
    for (j = 0; j + WIDTH <= call.features; j += WIDTH) {
        store(call.y, call.y_type, to + j, scaled(read<Wide>(line + j), call.after, j));
    }
    for (; j < call.features; ++j) store(call.y, call.y_type, to + j, scaled(line[j], call.after, j));
}

}  // namespace

DK_EXPORT(dk_rotate)(const Call* call) {
    auto body = [&](i64 begin, i64 end, i64 index) {
        float* lanes = (float*)(call->room + index * call->room_bytes);
        float* room = lanes + call->features * WIDTH;
        for (i64 row = begin; row < end; row += WIDTH) {
            i64 rows = end - row < WIDTH ? end - row : WIDTH;
            if (rows * 4 <= WIDTH) {
                for (i64 i = 0; i < rows; ++i) mix_row(*call, row + i, lanes, room);
                continue;
            }
            gather(*call, row, rows, lanes);
            mix(*call, lanes, WIDTH, room);
            if (call->keep != 1.0f) narrow<Wide>(*call, lanes, WIDTH);
            scatter(*call, row, rows, lanes);
        }
    };
    in_parts(call->rows, WIDTH, parts_of(call->rows, call->features * 4, call->threads), body);
    return 0;
}
