// What the library asks the machine for: the processor's instruction set, and memory in large pages.

#include <stdint.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif

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

// Ask for large pages in the part of a fresh tensor that they fill: a first write costs a page fault, and 2 MiB take 512 of
// the usual ones.
extern "C" __attribute__((visibility("default"))) void dk_large_pages(char* memory, int64_t bytes) {
#if defined(__linux__)
    const uintptr_t page = (uintptr_t)1 << 21;
    uintptr_t begin = ((uintptr_t)memory + page - 1) & ~(page - 1), end = ((uintptr_t)memory + (uintptr_t)bytes) & ~(page - 1);
    if (begin < end) madvise((void*)begin, end - begin, MADV_HUGEPAGE);
#else
    (void)memory, (void)bytes;
#endif
}
