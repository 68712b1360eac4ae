// Memory of results, used again: a first write to fresh pages costs more than the arithmetic on them, and the C library
// gives large blocks back to the system at once.
//
// A result is a DLPack tensor over a block that returns here when the last tensor on it is gone, from whatever thread.
// Idle blocks are bounded; the longest idle goes first. A lock is never waited for: whoever finds it taken, as in a fork
// during which another thread held it, does without idle blocks.

#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif

#define DK_ONCE extern "C" __attribute__((visibility("default")))

namespace {

typedef int64_t i64;

// DLManagedTensor of DLPack, fixed by its standard.
struct Tensor {
    void* data;
    int32_t device_type, device_id;
    int32_t axes;
    uint8_t code, bits;
    uint16_t lanes;
    const i64* shape;
    const i64* strides;  // null: contiguous
    uint64_t offset;
};
struct Managed {
    Tensor tensor;
    void* context;
    void (*deleter)(Managed*);
};

const int MOST_AXES = 16, MOST_IDLE = 64;
const i64 LARGE_PAGE = 2 << 20;

struct Block {
    void* memory;
    i64 bytes;
};
struct Result {
    Managed managed;
    Block block;
    i64 shape[MOST_AXES];
};

char taken = 0;
Block idle[MOST_IDLE];  // longest idle first
int idle_count = 0;
i64 idle_bytes = 0, most_idle_bytes = -1;

bool lock() { return !__atomic_test_and_set(&taken, __ATOMIC_ACQUIRE); }
void unlock() { __atomic_clear(&taken, __ATOMIC_RELEASE); }

// An eighth more than asked at most, so that sizes a little apart share blocks.
i64 rounded_size(i64 bytes) {
    i64 step = 4096;
    while (step * 16 <= bytes) step *= 2;
    return (bytes + step - 1) / step * step;
}

// By default a thirty-second of the machine's memory, half a GiB at most.
i64 limit() {
    if (most_idle_bytes < 0) {
        i64 share = (i64)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE) / 32, most = (i64)512 << 20;
        most_idle_bytes = share < most ? share : most;
    }
    return most_idle_bytes;
}

Block remove(int place) {
    Block block = idle[place];
    for (--idle_count; place < idle_count; ++place) idle[place] = idle[place + 1];
    idle_bytes -= block.bytes;
    return block;
}

void* fresh(i64 bytes) {
    void* memory = 0;
    if (posix_memalign(&memory, bytes >= 2 * LARGE_PAGE ? LARGE_PAGE : 4096, (size_t)bytes)) return 0;
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    // A fault for 2 MiB instead of 512.
    if (bytes >= 2 * LARGE_PAGE) madvise(memory, (size_t)(bytes / LARGE_PAGE * LARGE_PAGE), MADV_HUGEPAGE);
#endif
    return memory;
}

Block take(i64 bytes) {
    if (lock()) {
        for (int place = idle_count - 1; place >= 0; --place) {
            if (idle[place].bytes == bytes) {
                Block found = remove(place);
                unlock();
                return found;
            }
        }
        unlock();
    }
    return {fresh(bytes), bytes};
}

void give(Block block) {
    if (lock()) {
        // The limit is asked for first: it may be 0.
        while (idle_count && (idle_bytes + block.bytes > limit() || idle_count == MOST_IDLE)) free(remove(0).memory);
        if (idle_bytes + block.bytes <= limit()) {
            idle[idle_count++] = block, idle_bytes += block.bytes;
            block.memory = 0;
        }
        unlock();
    }
    free(block.memory);
}

void destroy(Managed* managed) {
    Result* result = (Result*)managed->context;
    give(result->block);
    free(result);
}

}  // namespace

struct Wanted {
    i64 bytes, code, bits, axes, shape[MOST_AXES];
};

// A DLManagedTensor over memory that holds anything, or null: there is no memory.
DK_ONCE void* dk_result(const Wanted* wanted) {
    Result* result = (Result*)malloc(sizeof(Result));
    if (!result) return 0;
    result->block = take(rounded_size(wanted->bytes));
    if (!result->block.memory) {
        free(result);
        return 0;
    }
    for (i64 axis = 0; axis < wanted->axes; ++axis) result->shape[axis] = wanted->shape[axis];
    Tensor tensor = {result->block.memory, 1, 0, (int32_t)wanted->axes, (uint8_t)wanted->code, (uint8_t)wanted->bits,
                     1,                    result->shape, 0,           0};
    result->managed = {tensor, result, destroy};
    return &result->managed;
}

// Bytes of idle blocks; `most` bounds them from now on, none are kept with 0, and -1 leaves the bound as it is.
DK_ONCE i64 dk_idle_bytes(i64 most) {
    if (!lock()) return -1;
    if (most >= 0) most_idle_bytes = most;
    while (idle_bytes > limit()) free(remove(0).memory);
    i64 bytes = idle_bytes;
    unlock();
    return bytes;
}
