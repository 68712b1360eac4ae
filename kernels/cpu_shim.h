// Runs a CUDA kernel on the CPU, to test it: every CUDA thread of a block becomes a fiber (ucontext).
//
// A fiber runs until it needs the others: __syncthreads waits for the block, a shuffle or ballot for the warp. Blocks
// run one after another. A warp runs as far ahead of the others as barriers let it; warps and lanes are resumed in
// ascending or descending order (`dk_descending`): a missing barrier often shows in one of the two only. Arguments arrive as cuLaunchKernel takes them, an array of pointers to the values.
// What it cannot show: real concurrency, memory order between blocks, tensor cores, inline PTX.
// Build with g++ -O1 -ffp-contract=off -DDK_CPU: a fused multiply-add would round differently from the intrinsics.

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <type_traits>
#include <ucontext.h>
#include <utility>

#define __global__
#define __device__
#define __forceinline__ inline
#define __shared__ static
#define __launch_bounds__(...)
#define __noinline__ __attribute__((noinline))

struct alignas(8) uint2 {
    unsigned x, y;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};

struct dk_dim3 {
    unsigned x, y, z;
};
static dk_dim3 threadIdx, blockIdx, blockDim, gridDim;

enum dk_wait { DK_READY, DK_AT_WARP, DK_AT_BLOCK, DK_DONE };
static const int DK_MAX_THREADS = 1024;
static const size_t DK_STACK_BYTES = 64 * 1024;
static ucontext_t dk_scheduler, dk_fibers[DK_MAX_THREADS];
static dk_wait dk_state[DK_MAX_THREADS];
static unsigned dk_slots[DK_MAX_THREADS];
static int dk_current;
static char* dk_stacks;
static void (*dk_body)(void*);
static void* dk_arguments;
extern "C" {
int dk_descending = 0;
}

static void dk_rendezvous(dk_wait what) {
    int self = dk_current;
    dk_state[self] = what;
    swapcontext(&dk_fibers[self], &dk_scheduler);
}

static void dk_start() {
    dk_body(dk_arguments);
    dk_state[dk_current] = DK_DONE;
}

static inline void __syncthreads() { dk_rendezvous(DK_AT_BLOCK); }
static inline void __syncwarp() { dk_rendezvous(DK_AT_WARP); }
static inline unsigned atomicAdd(unsigned* at, unsigned value) { return (*at += value) - value; }

// Everyone shows a value, everyone looks, and nobody shows the next before all have looked.
static unsigned dk_exchange(unsigned mine, int source) {
    int self = dk_current;
    dk_slots[self] = mine;
    dk_rendezvous(DK_AT_WARP);
    unsigned theirs = dk_slots[(self & ~31) + (source & 31)];
    dk_rendezvous(DK_AT_WARP);
    return theirs;
}

template <class V>
static V __shfl_xor_sync(unsigned, V value, int mask) {
    static_assert(sizeof(V) == 4, "the shim exchanges 32-bit values");
    unsigned bits;
    std::memcpy(&bits, &value, 4);
    bits = dk_exchange(bits, (dk_current & 31) ^ mask);
    std::memcpy(&value, &bits, 4);
    return value;
}

static inline unsigned __ballot_sync(unsigned, int predicate) {
    int self = dk_current;
    dk_slots[self] = predicate != 0;
    dk_rendezvous(DK_AT_WARP);
    unsigned votes = 0;
    for (int lane = 0; lane < 32; ++lane) votes |= dk_slots[(self & ~31) + lane] << lane;
    dk_rendezvous(DK_AT_WARP);
    return votes;
}

static inline int __all_sync(unsigned mask, int predicate) {
    int first = dk_current & ~31, last = first + 32 < (int)blockDim.x ? first + 32 : (int)blockDim.x;
    unsigned everyone = last - first == 32 ? 0xffffffffu : (1u << (last - first)) - 1;
    return (__ballot_sync(mask, predicate) & everyone) == everyone;
}

static inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fsub_rn(float a, float b) { return a - b; }
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fdiv_rn(float a, float b) { return a / b; }
// On a GPU these two are a little off in the last places.
static inline float __fdividef(float a, float b) { return a / b; }
static inline float dk_exp(float a) { return std::exp(a); }
#define __expf dk_exp  // glibc has a function of that name
// Four products of unsigned bytes, added to `sum`.
static inline unsigned __dp4a(unsigned a, unsigned b, unsigned sum) {
    for (int i = 0; i < 32; i += 8) sum += (a >> i & 255) * (b >> i & 255);
    return sum;
}
static inline int __dp4a(int a, int b, int sum) {
    for (int i = 0; i < 32; i += 8) sum += (signed char)(a >> i & 255) * (signed char)(b >> i & 255);
    return sum;
}
// Four bytes of the eight in low and high, the lowest four bits of `selector` choosing the lowest.
static inline unsigned __byte_perm(unsigned low, unsigned high, unsigned selector) {
    unsigned long long both = (unsigned long long)high << 32 | low;
    unsigned made = 0;
    for (int i = 0; i < 4; ++i) made |= (unsigned)(both >> 8 * (selector >> 4 * i & 7) & 255) << 8 * i;
    return made;
}
static inline unsigned __float_as_uint(float value) {
    unsigned bits;
    std::memcpy(&bits, &value, 4);
    return bits;
}
static inline float __uint_as_float(unsigned bits) {
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}

// Resume every fiber of a warp that may run. Returns whether one did.
static bool dk_resume(int first, int last) {
    bool ran = false;
    for (int turn = 0; turn < last - first; ++turn) {
        dk_current = dk_descending ? last - 1 - turn : first + turn;
        if (dk_state[dk_current] != DK_READY) continue;
        threadIdx.x = dk_current;
        swapcontext(&dk_scheduler, &dk_fibers[dk_current]);
        ran = true;
    }
    return ran;
}

// Open a barrier that every live fiber of these has reached. Returns whether it opened.
static bool dk_release(int first, int last, dk_wait barrier) {
    int live = 0, waiting = 0;
    for (int t = first; t < last; ++t) {
        live += dk_state[t] != DK_DONE;
        waiting += dk_state[t] == barrier;
    }
    if (live == 0 || waiting != live) return false;
    for (int t = first; t < last; ++t)
        if (dk_state[t] == barrier) dk_state[t] = DK_READY;
    return true;
}

// Every warp in turn as far as it gets without the others.
static void dk_pass(int threads) {
    int warps = (threads + 31) / 32;
    for (int turn = 0; turn < warps; ++turn) {
        int first = 32 * (dk_descending ? warps - 1 - turn : turn), last = first + 32 < threads ? first + 32 : threads;
        while (dk_resume(first, last) || dk_release(first, last, DK_AT_WARP)) {
        }
    }
}

// 0: all threads came to their end. 1: some wait for others that never come. 2: a launch the shim cannot run.
static int dk_run_block(int threads) {
    for (int t = 0; t < threads; ++t) {
        getcontext(&dk_fibers[t]);
        dk_fibers[t].uc_stack.ss_sp = dk_stacks + t * DK_STACK_BYTES;
        dk_fibers[t].uc_stack.ss_size = DK_STACK_BYTES;
        dk_fibers[t].uc_link = &dk_scheduler;
        makecontext(&dk_fibers[t], dk_start, 0);
        dk_state[t] = DK_READY;
    }
    do dk_pass(threads);
    while (dk_release(0, threads, DK_AT_BLOCK));
    for (int t = 0; t < threads; ++t)
        if (dk_state[t] != DK_DONE) return 1;
    return 0;
}

static int dk_run_grid(const unsigned* grid, const unsigned* block) {
    int threads = block[0];
    if (threads < 1 || threads > DK_MAX_THREADS || block[1] != 1 || block[2] != 1) return 2;
    if (dk_stacks == nullptr) dk_stacks = (char*)std::malloc(DK_MAX_THREADS * DK_STACK_BYTES);
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {block[0], block[1], block[2]};
    for (unsigned z = 0; z < grid[2]; ++z)
        for (unsigned y = 0; y < grid[1]; ++y)
            for (unsigned x = 0; x < grid[0]; ++x) {
                blockIdx = {x, y, z};
                if (int failure = dk_run_block(threads)) return failure;
            }
    return 0;
}

template <class... A, size_t... I>
static int dk_launch(void (*kernel)(A...), const unsigned* grid, const unsigned* block, void** values,
                     std::index_sequence<I...>) {
    struct Call {
        void (*kernel)(A...);
        void** values;
    } call = {kernel, values};
    dk_arguments = &call;
    dk_body = [](void* opaque) {
        Call* made = (Call*)opaque;
        made->kernel(*(std::remove_reference_t<A>*)made->values[I]...);
    };
    return dk_run_grid(grid, block);
}

template <class... A>
static int dk_launch(void (*kernel)(A...), const unsigned* grid, const unsigned* block, void** values) {
    return dk_launch(kernel, grid, block, values, std::index_sequence_for<A...>{});
}

// One line `DK_EXPORT(kernel)` behind the kernel's source makes it callable as dk_launch_<kernel>.
#define DK_EXPORT(KERNEL)                                                                             \
    extern "C" int dk_launch_##KERNEL(const unsigned* grid, const unsigned* block, void** values) {   \
        return dk_launch(KERNEL, grid, block, values);                                                \
    }
