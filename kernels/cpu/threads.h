// Parts of a range on threads of their own, started for the call: nothing lives on between calls, so nothing can be lost
// in a fork. A start costs 20 microseconds, on a busy machine more, which takes some hundred thousand elements to earn.

#pragma once

#include <pthread.h>

#include "vector.h"

namespace {

const i64 MOST_THREADS = 64;

template <class Body>
struct Part {
    Body* body;
    i64 begin, end, index;
    pthread_t thread;
    bool started;
};

template <class Body>
void* run_part(void* given) {
    Part<Body>* part = (Part<Body>*)given;
    (*part->body)(part->begin, part->end, part->index);
    return 0;
}

// How many parts `count` items of `cost` elements each are cut into.
inline i64 parts_of(i64 count, i64 cost, i64 threads) {
    const i64 worth_one = 262144;
    i64 parts = count * cost / worth_one + 1;
    if (parts > threads) parts = threads;
    if (parts > count) parts = count;
    if (parts > MOST_THREADS) parts = MOST_THREADS;
    return parts < 1 ? 1 : parts;
}

// Call body(begin, end, index) for `parts` pieces of 0 … count, which begin at multiples of `align`.
template <class Body>
void in_parts(i64 count, i64 align, i64 parts, Body& body) {
    Part<Body> all[MOST_THREADS];
    i64 each = (count + parts - 1) / parts;
    each = (each + align - 1) / align * align;
    for (i64 index = parts - 1; index >= 0; --index) {
        i64 begin = index * each < count ? index * each : count, end = begin + each < count ? begin + each : count;
        all[index] = {&body, begin, end, index, pthread_t(), false};
        if (begin >= end) continue;
        if (index > 0) all[index].started = pthread_create(&all[index].thread, 0, run_part<Body>, &all[index]) == 0;
        if (!all[index].started) run_part<Body>(&all[index]);
    }
    for (i64 index = 1; index < parts; ++index) {
        if (all[index].started) pthread_join(all[index].thread, 0);
    }
}

}  // namespace
