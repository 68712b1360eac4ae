// Temporal neurons (IF, LIF, PLIF, integer-firing LIF) over S steps on the CPU: forward, and a backward that recomputes.
//
// Formula    those of kernels/neuron_scan.cu, stated in darkit_nb/functional/neuron.py.
// Layout     x [S, N], each step contiguous, steps `x_stride` elements apart; spikes, gradients of both [S, N]
//            contiguous, or spikes [S, ceil(N/8)] bytes of bits; membranes float [N]; decay and threshold float [N] or
//            one number. A null state or gradient is all zeros; a null output is not wanted.
// Order      a vector of neurons goes through all steps in registers, so every tensor is read or written once. The
//            backward keeps the charged membranes of its vectors, S of each, in the first cache.
// Numerics   float32, products and sums rounded apart: spikes and membranes bit-equal to the reference.

#include "surrogate.h"
#include "threads.h"

namespace {

enum Fire { SOFT = 0, HARD = 1, INTEGER = 2 };

const i64 LINE = 64;  // neurons of which threads take whole groups
const int GROUP = 4;  // vectors that go together, to hide the time one operation waits for the one before
const int FIRE_INTEGER = 8;  // beside the codes of the surrogates

// A null pointer to constants means one number for all neurons, the one beside it.
struct Scan {
    const void* x;
    i64 x_type, x_stride;
    const float *state, *decay, *threshold;
    float one_decay, one_threshold;
    i64 steps, neurons, fire;
    float max_count;
};

template <class V>
DK_INLINE V constant(const float* each, float one, i64 n) {
    return each ? read<V>(each + n) : all<V>(one);
}

template <bool WHOLE, class V>
DK_INLINE V fire_of(V h, V threshold, float max_count) {
    if (!WHOLE) return h - threshold >= 0.0f ? all<V>(1.0f) : V{};
    V level = h / threshold;
    // A NaN stays one, as in the reference.
    level = level < 0.0f ? V{} : level;
    return round_even(level > max_count ? all<V>(max_count) : level);
}

template <class V>
DK_INLINE V settle(V h, V fired, V threshold, bool hard) {
    return hard ? h * (1.0f - fired) : h - threshold * fired;
}

struct Out {
    void* spikes;
    i64 type;  // BITS: rows of whole bytes, the first neuron in the lowest bit
    float* last;
    i64 past_caches;  // whether results are larger than they are
};

template <class V, int COUNT, bool WHOLE>
DK_INLINE void forward(const Scan& scan, const Out& out, i64 n) {
    const i64 width = Of<V>::width;
    V v[COUNT], decay[COUNT], threshold[COUNT];
    for (int g = 0; g < COUNT; ++g) {
        v[g] = scan.state ? read<V>(scan.state + n + g * width) : V{};
        decay[g] = constant<V>(scan.decay, scan.one_decay, n + g * width);
        threshold[g] = constant<V>(scan.threshold, scan.one_threshold, n + g * width);
    }
    for (i64 s = 0; s < scan.steps; ++s) {
        u64 bits = 0;
        for (int g = 0; g < COUNT; ++g) {
            V h = decay[g] * v[g] + load<V>(scan.x, scan.x_type, s * scan.x_stride + n + g * width);
            V fired = fire_of<WHOLE>(h, threshold[g], scan.max_count);
            if (out.type == BITS) bits |= (u64)bits_of(fired > 0.0f) << (g * width);
            else store(out.spikes, out.type, s * scan.neurons + n + g * width, fired, out.past_caches);
            v[g] = settle(h, fired, threshold[g], scan.fire == HARD);
        }
        if (out.type == BITS) write_bits<COUNT * width>((u8*)out.spikes + s * bytes_of_bits(scan.neurons), n, bits);
    }
    for (int g = 0; g < COUNT; ++g) put(out.last + n + g * width, v[g], out.past_caches);
}

template <bool WHOLE>
void forward_range(const Scan& scan, const Out& out, i64 n, i64 end) {
    for (; n + GROUP * WIDTH <= end; n += GROUP * WIDTH) forward<Wide, GROUP, WHOLE>(scan, out, n);
    for (; n + WIDTH <= end; n += WIDTH) forward<Wide, 1, WHOLE>(scan, out, n);
    for (; n < end; ++n) forward<float, 1, WHOLE>(scan, out, n);
    if (out.past_caches) settle_streams();
}

struct Back {
    const void* grad_spikes;  // null: zeros
    const float* grad_last;   // null: zeros
    void* grad_x;
    float *grad_state, *grad_decay, *grad_threshold;
    double* sums;  // [MOST_THREADS, 2], all 0: gradients of a decay and a threshold that all share; null: not wanted
    i64 detach, past_caches;
    float alpha;
};

DK_INLINE double sum_of(float value) { return value; }
DK_INLINE double sum_of(Wide value) {
    double total = 0.0;
    for (i64 k = 0; k < WIDTH; ++k) total += (double)value[k];
    return total;
}

// Hand the gradient of a constant on: to its neurons, or into the sum over all of them.
template <class V>
DK_INLINE void give(float* to, double* sum, i64 n, V found) {
    if (to) write(to + n, found);
    else *sum += sum_of(found);
}

template <class V, int COUNT, int CODE>
DK_INLINE void backward(const Scan& scan, const Back& back, float* scratch, double* sums, i64 n) {
    const i64 width = Of<V>::width;
    const bool whole = CODE == FIRE_INTEGER, hard = scan.fire == HARD;
    V state[COUNT], v[COUNT], decay[COUNT], threshold[COUNT], gv[COUNT], g_decay[COUNT], g_threshold[COUNT];
    for (int g = 0; g < COUNT; ++g) {
        i64 at = n + g * width;
        v[g] = state[g] = scan.state ? read<V>(scan.state + at) : V{};
        decay[g] = constant<V>(scan.decay, scan.one_decay, at);
        threshold[g] = constant<V>(scan.threshold, scan.one_threshold, at);
        gv[g] = back.grad_last ? read<V>(back.grad_last + at) : V{};
        g_decay[g] = g_threshold[g] = V{};
    }
    for (i64 s = 0; s < scan.steps; ++s) {
        for (int g = 0; g < COUNT; ++g) {
            V h = decay[g] * v[g] + load<V>(scan.x, scan.x_type, s * scan.x_stride + n + g * width);
            write(scratch + (s * COUNT + g) * width, h);
            v[g] = settle(h, fire_of<whole>(h, threshold[g], scan.max_count), threshold[g], hard);
        }
    }
    for (i64 s = scan.steps - 1; s >= 0; --s) {
        for (int g = 0; g < COUNT; ++g) {
            i64 at = s * scan.neurons + n + g * width;
            V h = read<V>(scratch + (s * COUNT + g) * width), theta = threshold[g], through = gv[g];
            V grad = back.grad_spikes ? load<V>(back.grad_spikes, scan.x_type, at) : V{};
            if (!back.detach) grad -= (hard ? h : theta) * through;
            if (hard) through *= 1.0f - fire_of<whole>(h, theta, scan.max_count);
            else if (back.sums) g_threshold[g] -= fire_of<whole>(h, theta, scan.max_count) * through;
            V level = all<V>(1.0f), gz;
            if (whole) {
                level = h / theta;
                V inside = grad / theta;
                gz = level >= 0.0f ? (level <= scan.max_count ? inside : V{}) : V{};
            } else {
                gz = grad * slope<whole ? 0 : CODE>(h - theta, back.alpha);
            }
            through += gz;
            if (back.sums) {
                g_threshold[g] -= level * gz;
                V earlier = s ? read<V>(scratch + ((s - 1) * COUNT + g) * width) : state[g];
                V before = s ? settle(earlier, fire_of<whole>(earlier, theta, scan.max_count), theta, hard) : earlier;
                g_decay[g] += through * before;
            }
            store(back.grad_x, scan.x_type, at, through, back.past_caches);
            gv[g] = decay[g] * through;
        }
    }
    for (int g = 0; g < COUNT; ++g) {
        if (back.grad_state) write(back.grad_state + n + g * width, gv[g]);
        if (!back.sums) continue;
        give(back.grad_decay, sums, n + g * width, g_decay[g]);
        give(back.grad_threshold, sums + 1, n + g * width, g_threshold[g]);
    }
}

template <int CODE>
void backward_range(const Scan& scan, const Back& back, float* scratch, double* sums, i64 n, i64 end) {
    for (; n + GROUP * WIDTH <= end; n += GROUP * WIDTH) backward<Wide, GROUP, CODE>(scan, back, scratch, sums, n);
    for (; n + WIDTH <= end; n += WIDTH) backward<Wide, 1, CODE>(scan, back, scratch, sums, n);
    for (; n < end; ++n) backward<float, 1, CODE>(scan, back, scratch, sums, n);
    if (back.past_caches) settle_streams();
}

typedef void (*BackwardRange)(const Scan&, const Back&, float*, double*, i64, i64);
const BackwardRange BACKWARD[] = {backward_range<0>, backward_range<1>, backward_range<2>,
                                  backward_range<3>, backward_range<4>, backward_range<5>,
                                  backward_range<6>, backward_range<7>, backward_range<FIRE_INTEGER>};

}  // namespace

struct ForwardCall {
    Scan scan;
    Out out;
    i64 threads;
};

DK_EXPORT(dk_scan_forward)(const ForwardCall* call) {
    const Scan& scan = call->scan;
    auto body = [&](i64 begin, i64 end, i64) {
        if (scan.fire == INTEGER) forward_range<true>(scan, call->out, begin, end);
        else forward_range<false>(scan, call->out, begin, end);
    };
    in_parts(scan.neurons, LINE, parts_of(scan.neurons, scan.steps, call->threads), body);
    return 0;
}

struct BackwardCall {
    Scan scan;
    Back back;
    i64 surrogate, threads;
};

// Returns 0, or 1 when there was no memory.
DK_EXPORT(dk_scan_backward)(const BackwardCall* call) {
    const Scan& scan = call->scan;
    i64 failed = 0;
    auto body = [&](i64 begin, i64 end, i64 index) {
        float* scratch = (float*)aligned_alloc(64, (size_t)(scan.steps * GROUP * WIDTH * 4 + 63) / 64 * 64);
        if (!scratch) return __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
        BackwardRange range = BACKWARD[scan.fire == INTEGER ? FIRE_INTEGER : call->surrogate];
        range(scan, call->back, scratch, call->back.sums ? call->back.sums + 2 * index : 0, begin, end);
        free(scratch);
    };
    in_parts(scan.neurons, LINE, parts_of(scan.neurons, scan.steps, call->threads), body);
    return failed;
}
