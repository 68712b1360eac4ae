// What the library knows of the machine and of the process it runs in: the instruction set, and the threads that are
// there already.

#include <stdint.h>
#include <unistd.h>

#include "shared.h"

// 0 the instructions of every processor of this kind, 1 AVX2, 2 AVX-512.
extern "C" __attribute__((visibility("default"))) int64_t dk_level() {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
        return 2;
    if (__builtin_cpu_supports("avx2")) return 1;
#endif
    return 0;
}

SharedThreads dk_threads = {0, 0, 0};

// Work from now on on the threads of this OpenMP: its GOMP_parallel and omp_get_thread_num; nulls: on threads of our own.
extern "C" __attribute__((visibility("default"))) void dk_share_threads(ParallelRegion region, int (*number)()) {
    dk_threads.region = number ? region : 0, dk_threads.number = number, dk_threads.process = getpid();
}
