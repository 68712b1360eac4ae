// Surrogate derivatives of the Heaviside step; the numbers are the `code` in darkit_nb/functional/surrogate.py, where the
// formulas are stated. z = membrane - threshold, alpha = sharpness.

#pragma once

#include "vector.h"

namespace {

template <int CODE, class V>
DK_INLINE V slope(V z, float alpha) {
    V distance = z < 0.0f ? -z : z;
    if (CODE == 1) return distance <= 0.5f / alpha ? all<V>(alpha) : V{};
    if (CODE == 2) {
        V height = 1.0f - alpha * distance;
        return alpha * (height < 0.0f ? V{} : height);
    }
    if (CODE == 3) {
        V reach = 1.5707963267948966f * alpha * z;
        return 0.5f * alpha / (1.0f + reach * reach);
    }
    if (CODE == 4) {
        V decay = exp_of_negative(-alpha * distance), whole = 1.0f + decay;
        return alpha * decay / (whole * whole);
    }
    if (CODE == 5) {
        V whole = 1.0f + alpha * distance;
        return 1.0f / (whole * whole);
    }
    if (CODE == 6) {
        V reach = alpha * z;
        return 0.3989422804014327f * alpha * exp_of_negative(-0.5f * reach * reach);
    }
    if (CODE == 7) return 0.5f * alpha * exp_of_negative(-alpha * distance);
    return all<V>(1.0f);
}

}  // namespace
