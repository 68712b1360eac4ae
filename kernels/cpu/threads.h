// Parts of a range on several threads: those torch keeps for its own operations, where its OpenMP is known.
//
// A second pool would fight with torch's threads, which spin on every processor for a while after each operation. Where
// there is none to share, and in a fork, which has lost it, threads are started for the call and joined. A start costs tens
// of microseconds, which takes some hundred thousand elements to earn; to wake a thread of torch's costs a few.

#pragma once

#include <pthread.h>
#include <unistd.h>

#include "shared.h"
#include "vector.h"

namespace {

const i64 MOST_THREADS = 64;

inline bool threads_are_shared() { return dk_threads.region && dk_threads.process == getpid(); }

// How many parts `count` items of `cost` elements each are cut into.
inline i64 parts_of(i64 count, i64 cost, i64 threads) {
    const i64 worth_one = dk_threads.region ? 32768 : 262144;
    i64 parts = count * cost / worth_one + 1;
    if (parts > threads) parts = threads;
    if (parts > count) parts = count;
    if (parts > MOST_THREADS) parts = MOST_THREADS;
    return parts < 1 ? 1 : parts;
}

template <class Body>
struct Divided {
    Body* body;
    i64 count, each, parts;
    bool done[MOST_THREADS];
};

template <class Body>
void run_part(Divided<Body>& work, i64 index) {
    i64 begin = index * work.each < work.count ? index * work.each : work.count;
    i64 end = begin + work.each < work.count ? begin + work.each : work.count;
    if (begin < end) (*work.body)(begin, end, index);
    work.done[index] = true;
}

// What every thread of a shared region runs.
template <class Body>
void run_share(void* given) {
    Divided<Body>& work = *(Divided<Body>*)given;
    // Part i on thread i at every call: what it left in the processor's cache is found there again.
    i64 index = dk_threads.number();
    if (index < work.parts) run_part(work, index);
}

template <class Body>
struct Started {
    Divided<Body>* work;
    i64 index;
    pthread_t thread;
    bool runs;
};

template <class Body>
void* run_started(void* given) {
    Started<Body>* mine = (Started<Body>*)given;
    run_part(*mine->work, mine->index);
    return 0;
}

template <class Body>
void on_own_threads(Divided<Body>& work) {
    Started<Body> started[MOST_THREADS];
    for (i64 index = 1; index < work.parts; ++index) {
        started[index] = {&work, index, pthread_t(), false};
        started[index].runs = pthread_create(&started[index].thread, 0, run_started<Body>, &started[index]) == 0;
    }
    run_part(work, 0);
    for (i64 index = 1; index < work.parts; ++index) {
        if (started[index].runs) pthread_join(started[index].thread, 0);
    }
}

// Call body(begin, end, index) for `parts` pieces of 0 … count, which begin at multiples of `align`.
template <class Body>
void in_parts(i64 count, i64 align, i64 parts, Body& body) {
    i64 each = (count + parts - 1) / parts;
    Divided<Body> work = {&body, count, (each + align - 1) / align * align, parts, {}};
    if (parts > 1) {
        if (threads_are_shared()) dk_threads.region(run_share<Body>, &work, (unsigned)parts, 0);
        else on_own_threads(work);
    }
    // All of one part; else what nobody ran: a region may have fewer threads than were asked for.
    for (i64 index = 0; index < parts; ++index) {
        if (!work.done[index]) run_part(work, index);
    }
}

}  // namespace
