// The spiking linear layer on the CPU in one call: tokens become counts, counts meet weight codes, sums become outputs.
//
// Formula    y[r, o] = sum over weight groups G of (sum_g scale[r, g] * (sum_j (q[r, j] - zero[r, g]) * c[o, j])) * ws[o, G]
//            + bias[o], j over the features of range group g in G; darkit_nb/functional/spike_linear.py: spike_product.
//            Where one scale is an integer multiple of the other, counts are multiplied by it and a single sum serves both.
// Layout     x as in gif.cpp, or counts [R, D] bytes with scale [R, G] and zero [R, G]; y [R, O]; weights as in product.h.
// Order      that of multiply.h.
// Numerics   exact sums (the caller sees to it that they fit 32 bits), then float32, every operation rounded by itself:
//            bit-equal to the reference.

#include "multiply.h"

// Tokens `x`, or their spikes where `counts` is given. Without a room: how many bytes of it a thread needs. `most` limits
// the ways of multiplying: 0 plain, 1 with VNNI, 2 with tiles.
DK_EXPORT(dk_spike_linear)(const Call* call) {
    if (!call->room) return room_of(*call->plan, call->rows);
    Job job = {*call->plan, *call, law_of(*call->plan), hand_of(call->most), 0};
    multiply_all(job);
    return 0;
}
