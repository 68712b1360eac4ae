// What there is once in the library, whatever the instruction set.

#pragma once

// As OpenMP starts a parallel region: function, its argument, number of threads, flags.
typedef void (*ParallelRegion)(void (*)(void*), void*, unsigned, unsigned);

struct SharedThreads {
    ParallelRegion region;  // null: there are none
    int (*number)();        // which thread of the region this is
    int process;            // a fork has only the thread that called it
};

extern __attribute__((visibility("hidden"))) SharedThreads dk_threads;
