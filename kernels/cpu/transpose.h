// A square of as many numbers a side as a vector holds: rows become columns.

#pragma once

#include "vector.h"

#if defined(__AVX512F__)
#define DK_LOW 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define DK_HIGH 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif defined(__AVX2__)
#define DK_LOW 0, 8, 1, 9, 2, 10, 3, 11
#define DK_HIGH 4, 12, 5, 13, 6, 14, 7, 15
#else
#define DK_LOW 0, 4, 1, 5
#define DK_HIGH 2, 6, 3, 7
#endif
#if defined(__clang__)
#define DK_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define DK_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, WideInt{__VA_ARGS__})
#endif

namespace {

// Rows become columns: every turn interleaves the first half of the rows with the second, which turns the bits of each
// element's place by one.
DK_INLINE void turn(Wide* rows) {
    for (i64 turns = 1; turns < WIDTH; turns *= 2) {
        Wide turned[WIDTH];
        for (i64 i = 0; i < WIDTH / 2; ++i) {
            turned[2 * i] = DK_SHUFFLE(rows[i], rows[i + WIDTH / 2], DK_LOW);
            turned[2 * i + 1] = DK_SHUFFLE(rows[i], rows[i + WIDTH / 2], DK_HIGH);
        }
        for (i64 i = 0; i < WIDTH; ++i) rows[i] = turned[i];
    }
}

}  // namespace
