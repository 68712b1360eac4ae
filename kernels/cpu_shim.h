// Runs a CUDA kernel on the CPU, to test it: every CUDA thread of a block becomes a fiber (ucontext).
//
// A fiber runs until it needs the others: __syncthreads waits for the block, a shuffle or ballot for the warp. Blocks
// run one after another. Fibers are resumed in ascending or descending order (`dk_descending`): a missing barrier often
// shows in one of the two only. Arguments arrive as cuLaunchKernel takes them, an array of pointers to the values.
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

static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fsub_rn(float a, float b) { return a - b; }
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fdiv_rn(float a, float b) { return a / b; }
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

// Resume every fiber that may run. Returns whether one did.
static bool dk_pass(int threads) {
    bool ran = false;
    for (int turn = 0; turn < threads; ++turn) {
        dk_current = dk_descending ? threads - 1 - turn : turn;
        if (dk_state[dk_current] != DK_READY) continue;
        threadIdx.x = dk_current;
        swapcontext(&dk_scheduler, &dk_fibers[dk_current]);
        ran = true;
    }
    return ran;
}

// Open the barriers everyone has reached. Returns whether one opened.
static bool dk_release(int threads) {
    bool opened = false;
    int at_block = 0, live = 0;
    for (int first = 0; first < threads; first += 32) {
        int last = first + 32 < threads ? first + 32 : threads, at_warp = 0, here = 0;
        for (int t = first; t < last; ++t) {
            here += dk_state[t] != DK_DONE;
            at_warp += dk_state[t] == DK_AT_WARP;
            at_block += dk_state[t] == DK_AT_BLOCK;
        }
        live += here;
        if (here == 0 || at_warp != here) continue;
        for (int t = first; t < last; ++t)
            if (dk_state[t] == DK_AT_WARP) dk_state[t] = DK_READY;
        opened = true;
    }
    if (live != 0 && at_block == live) {
        for (int t = 0; t < threads; ++t)
            if (dk_state[t] == DK_AT_BLOCK) dk_state[t] = DK_READY;
        opened = true;
    }
    return opened;
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
    while (dk_pass(threads) || dk_release(threads)) {
    }
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
