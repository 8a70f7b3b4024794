// Device memory (a part of the host's), pinned host memory, and copies between them.
//
// What a real device leaves undefined is made to show: new memory is filled with 0xFF bytes (as floats: NaN) in stream
// order, so that a stream that does not wait for the allocating one loses what it wrote; freed memory is filled again,
// in stream order; bytes around each allocation are watched. FEEDLINE_SIMULATOR_GUARD=1 puts each allocation on pages
// of its own, with its end before a page that can't be touched: a kernel that reads past the end is then named at once.
#include "internal.h"
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <sys/mman.h>

namespace simulator {
namespace {

constexpr std::size_t red_zone = 256; // also the alignment of allocations
constexpr unsigned char unset = 0xFF;
constexpr std::size_t quarantine_limit = 32 << 20;

struct Allocation {
    char *start;
    std::size_t bytes;
    int device;
    char *base; // of what the host's allocator gave
    std::size_t base_bytes;
};

struct Pinned {
    std::size_t bytes;
    bool owned; // by us: cuMemHostAlloc; else registered
    std::shared_ptr<std::atomic<int>> copies;
};

// Never destroyed, as streams' threads may outlive the program's statics.
struct Memory {
    std::mutex mutex;
    std::map<const char *, Allocation> live; // by start
    std::map<const char *, Pinned> pinned;
    std::deque<Allocation> quarantine; // freed, to see whether someone still writes there
    std::size_t quarantined = 0;
    std::map<int, std::size_t> used;
};
Memory &memory() {
    static Memory *it = new Memory;
    return *it;
}

// The entry whose range holds the pointer (its end included), or a null pointer. The lock is held.
template <class Map> typename Map::value_type *holder(Map &map, const void *pointer) {
    auto at = static_cast<const char *>(pointer);
    auto next = map.upper_bound(at);
    if (next == map.begin()) return nullptr;
    auto &entry = *std::prev(next);
    return at <= entry.first + entry.second.bytes ? &entry : nullptr;
}

bool guards() {
    static const bool on = variable_is_set("FEEDLINE_SIMULATOR_GUARD");
    return on;
}

Allocation take_from_host(std::size_t bytes, int device) {
    if (guards()) {
        const std::size_t page = 4096;
        std::size_t pages = (bytes + page - 1) / page * page;
        void *base = mmap(nullptr, pages + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (base == MAP_FAILED) return {};
        char *first = static_cast<char *>(base);
        mprotect(first + pages, page, PROT_NONE);
        return {first + (pages - bytes) / 16 * 16, bytes, device, first, pages + page};
    }
    std::size_t rounded = (bytes + red_zone - 1) / red_zone * red_zone;
    char *base = static_cast<char *>(std::aligned_alloc(red_zone, rounded + 2 * red_zone));
    if (!base) return {};
    std::memset(base, unset, red_zone);
    std::memset(base + red_zone + bytes, unset, rounded - bytes + red_zone);
    return {base + red_zone, bytes, device, base, rounded + 2 * red_zone};
}

bool is_unset(const char *from, const char *to) {
    for (; from < to; from++)
        if (static_cast<unsigned char>(*from) != unset) return false;
    return true;
}

void check_red_zones(const Allocation &a, const char *culprit) {
    if (guards()) return;
    if (!is_unset(a.base, a.start))
        fail("%s: written before the start of a device allocation of %zu bytes", culprit, a.bytes);
    if (!is_unset(a.start + a.bytes, a.base + a.base_bytes))
        fail("%s: written past the end of a device allocation of %zu bytes", culprit, a.bytes);
}

void give_back(const Allocation &a) {
    if (guards()) munmap(a.base, a.base_bytes);
    else std::free(a.base);
}

// In stream order.
void release(const Allocation &a) {
    check_red_zones(a, "at a free");
    std::memset(a.start, unset, a.bytes);
    std::lock_guard<std::mutex> lock(memory().mutex);
    memory().used[a.device] -= a.bytes;
    if (guards()) return give_back(a);
    memory().quarantine.push_back(a);
    memory().quarantined += a.base_bytes;
    while (memory().quarantined > quarantine_limit) {
        Allocation oldest = memory().quarantine.front();
        memory().quarantine.pop_front();
        memory().quarantined -= oldest.base_bytes;
        if (!is_unset(oldest.base, oldest.base + oldest.base_bytes))
            fail("device memory (%zu bytes) was written after it was freed: a stream did not wait", oldest.bytes);
        give_back(oldest);
    }
}

CUresult allocate(CUdeviceptr *result, std::size_t bytes, CUstream stream) {
    if (bytes == 0) return CUDA_ERROR_INVALID_VALUE;
    int device = device_of(stream);
    char *start;
    {
        std::lock_guard<std::mutex> lock(memory().mutex);
        if (memory().used[device] + bytes > memory_total()) return CUDA_ERROR_OUT_OF_MEMORY;
        Allocation a = take_from_host(bytes, device);
        if (!a.base) return CUDA_ERROR_OUT_OF_MEMORY;
        memory().used[device] += bytes;
        memory().live[a.start] = a;
        start = a.start;
    }
    enqueue(stream, [=] { std::memset(start, unset, bytes); });
    *result = reinterpret_cast<CUdeviceptr>(start);
    return CUDA_SUCCESS;
}

Allocation forget(CUdeviceptr pointer) {
    std::lock_guard<std::mutex> lock(memory().mutex);
    auto found = memory().live.find(reinterpret_cast<char *>(pointer));
    if (found == memory().live.end()) fail("0x%llx is freed, but no device allocation starts there", pointer);
    Allocation a = found->second;
    memory().live.erase(found);
    return a;
}

// The counter of copies under way for pinned memory, a null pointer for other host memory.
std::shared_ptr<std::atomic<int>> pinned_copies(const void *host, std::size_t bytes) {
    std::lock_guard<std::mutex> lock(memory().mutex);
    auto *entry = holder(memory().pinned, host);
    if (!entry || static_cast<const char *>(host) + bytes > entry->first + entry->second.bytes) return nullptr;
    return entry->second.copies;
}

CUresult copy_to_device(CUdeviceptr to, const void *from, std::size_t bytes, CUstream stream) {
    void *target = reinterpret_cast<void *>(to);
    check_device_memory(target, bytes, device_of(stream), "a copy to the device");
    if (auto copies = pinned_copies(from, bytes)) {
        ++*copies;
        enqueue(stream, [=] {
            std::memcpy(target, from, bytes);
            --*copies;
        });
    } else { // other memory is read at the call, as on a real device
        auto staged = std::shared_ptr<char>(new char[bytes], std::default_delete<char[]>());
        std::memcpy(staged.get(), from, bytes);
        enqueue(stream, [=] { std::memcpy(target, staged.get(), bytes); });
    }
    return CUDA_SUCCESS;
}

CUresult copy_to_host(void *to, CUdeviceptr from, std::size_t bytes, CUstream stream) {
    const void *source = reinterpret_cast<const void *>(from);
    check_device_memory(source, bytes, device_of(stream), "a copy to the host");
    auto copies = pinned_copies(to, bytes);
    if (copies) ++*copies;
    enqueue(stream, [=] {
        std::memcpy(to, source, bytes);
        if (copies) --*copies;
    });
    if (!copies) synchronize(stream);
    return CUDA_SUCCESS;
}

CUresult copy_within(CUdeviceptr to, int to_device, CUdeviceptr from, int from_device, std::size_t bytes, CUstream stream) {
    void *target = reinterpret_cast<void *>(to);
    const void *source = reinterpret_cast<const void *>(from);
    check_device_memory(target, bytes, to_device, "the target of a device copy");
    check_device_memory(source, bytes, from_device, "the source of a device copy");
    enqueue(stream, [=] { std::memmove(target, source, bytes); });
    return CUDA_SUCCESS;
}

template <class T> CUresult set_async(CUdeviceptr to, T value, std::size_t count, CUstream stream) {
    T *target = reinterpret_cast<T *>(to);
    check_device_memory(target, count * sizeof(T), device_of(stream), "a memset");
    enqueue(stream, [=] {
        for (std::size_t i = 0; i < count; i++) target[i] = value;
    });
    return CUDA_SUCCESS;
}

// What is synchronous is enqueued on the default stream and waited for.
CUresult finish(CUresult result) {
    synchronize(nullptr);
    return result;
}

__attribute__((destructor)) void report_leaks() {
    if (!variable_is_set("FEEDLINE_SIMULATOR_LEAKS")) return;
    std::size_t bytes = 0, pinned = 0;
    std::lock_guard<std::mutex> lock(memory().mutex);
    for (auto &entry : memory().live) bytes += entry.second.bytes;
    for (auto &entry : memory().pinned) pinned += entry.second.bytes;
    if (bytes || pinned)
        std::fprintf(stderr, "simulated CUDA: never freed: %zu allocations of %zu bytes on devices, %zu of %zu bytes pinned\n",
                     memory().live.size(), bytes, memory().pinned.size(), pinned);
}

} // namespace

std::size_t memory_total() {
    static const std::size_t mib = [] {
        const char *value = std::getenv("FEEDLINE_SIMULATED_MEMORY");
        return value ? std::strtoull(value, nullptr, 10) : 4096;
    }();
    return mib << 20;
}
std::size_t memory_used(int device) {
    std::lock_guard<std::mutex> lock(memory().mutex);
    return memory().used[device];
}

void check_device_memory(const void *pointer, std::size_t bytes, int device, const char *what) {
    if (bytes == 0) return;
    std::lock_guard<std::mutex> lock(memory().mutex);
    auto *entry = holder(memory().live, pointer);
    if (!entry) fail("%s: %p (%zu bytes) is not in device memory, or was freed", what, pointer, bytes);
    const Allocation &a = entry->second;
    if (a.device != device) fail("%s: memory of device %d is used on device %d", what, a.device, device);
    if (static_cast<const char *>(pointer) + bytes > a.start + a.bytes)
        fail("%s: %zu bytes from byte %zu on of an allocation of %zu bytes", what, bytes,
             static_cast<const char *>(pointer) - a.start, a.bytes);
}

std::size_t bytes_left(const void *pointer) {
    std::lock_guard<std::mutex> lock(memory().mutex);
    auto *entry = holder(memory().live, pointer);
    return entry ? entry->first + entry->second.bytes - static_cast<const char *>(pointer) : 0;
}

bool usable_in_kernel(const void *pointer, int device) {
    if (!pointer) return true;
    std::lock_guard<std::mutex> lock(memory().mutex);
    auto *entry = holder(memory().live, pointer);
    return entry ? entry->second.device == device : holder(memory().pinned, pointer) != nullptr;
}

void check_red_zones(const void *pointer, const char *culprit) {
    std::lock_guard<std::mutex> lock(memory().mutex);
    if (auto *entry = holder(memory().live, pointer)) check_red_zones(entry->second, culprit);
}

} // namespace simulator

using namespace simulator;
#define NEED_CONTEXT                                                                                                   \
    if (current_device() < 0) return CUDA_ERROR_INVALID_CONTEXT

extern "C" {

CUresult cuMemAllocAsync(CUdeviceptr *pointer, std::size_t bytes, CUstream stream) {
    NEED_CONTEXT;
    return allocate(pointer, bytes, stream);
}
CUresult cuMemAllocFromPoolAsync(CUdeviceptr *pointer, std::size_t bytes, void *, CUstream stream) {
    return cuMemAllocAsync(pointer, bytes, stream);
}
CUresult cuMemAlloc_v2(CUdeviceptr *pointer, std::size_t bytes) {
    NEED_CONTEXT;
    CUresult result = allocate(pointer, bytes, nullptr);
    return result == CUDA_SUCCESS ? finish(result) : result;
}
CUresult cuMemFreeAsync(CUdeviceptr pointer, CUstream stream) {
    NEED_CONTEXT;
    if (!pointer) return CUDA_SUCCESS;
    Allocation a = forget(pointer);
    if (a.device != device_of(stream)) fail("memory of device %d is freed on a stream of device %d", a.device, device_of(stream));
    enqueue(stream, [a] { release(a); });
    return CUDA_SUCCESS;
}
CUresult cuMemFree_v2(CUdeviceptr pointer) {
    NEED_CONTEXT;
    if (!pointer) return CUDA_SUCCESS;
    Allocation a = forget(pointer);
    synchronize_device(a.device); // as the real one does
    release(a);
    return CUDA_SUCCESS;
}

CUresult cuMemHostRegister_v2(void *pointer, std::size_t bytes, unsigned) {
    NEED_CONTEXT;
    if (!pointer || bytes == 0) return CUDA_ERROR_INVALID_VALUE;
    std::lock_guard<std::mutex> lock(memory().mutex);
    auto *entry = holder(memory().pinned, pointer);
    if (entry && pointer != entry->first + entry->second.bytes) return CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
    memory().pinned[static_cast<char *>(pointer)] = {bytes, false, std::make_shared<std::atomic<int>>(0)};
    return CUDA_SUCCESS;
}
CUresult cuMemHostAlloc(void **pointer, std::size_t bytes, unsigned) {
    NEED_CONTEXT;
    if (bytes == 0) return CUDA_ERROR_INVALID_VALUE;
    *pointer = std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    if (!*pointer) return CUDA_ERROR_OUT_OF_MEMORY;
    std::memset(*pointer, unset, bytes);
    std::lock_guard<std::mutex> lock(memory().mutex);
    memory().pinned[static_cast<char *>(*pointer)] = {bytes, true, std::make_shared<std::atomic<int>>(0)};
    return CUDA_SUCCESS;
}
static CUresult unpin(void *pointer, bool owned) {
    std::lock_guard<std::mutex> lock(memory().mutex);
    auto found = memory().pinned.find(static_cast<char *>(pointer));
    if (found == memory().pinned.end() || found->second.owned != owned)
        fail("%p is %s, but is not the start of such memory", pointer, owned ? "freed as pinned" : "unregistered");
    if (*found->second.copies) fail("pinned memory %p is freed while copies from or to it are under way", pointer);
    memory().pinned.erase(found);
    if (owned) std::free(pointer);
    return CUDA_SUCCESS;
}
CUresult cuMemFreeHost(void *pointer) { return unpin(pointer, true); }
CUresult cuMemHostUnregister(void *pointer) { return unpin(pointer, false); }
CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr *result, void *pointer, unsigned) {
    *result = reinterpret_cast<CUdeviceptr>(pointer);
    return pinned_copies(pointer, 0) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
CUresult cuMemHostGetFlags(unsigned *flags, void *pointer) {
    *flags = 0;
    return pinned_copies(pointer, 0) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

#define NEED_CONTEXT_AND(bytes)                                                                                        \
    NEED_CONTEXT;                                                                                                      \
    if ((bytes) == 0) return CUDA_SUCCESS

CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, std::size_t bytes, CUstream stream) {
    NEED_CONTEXT_AND(bytes);
    return copy_to_device(to, from, bytes, stream);
}
CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void *from, std::size_t bytes) {
    NEED_CONTEXT_AND(bytes);
    return finish(copy_to_device(to, from, bytes, nullptr));
}
CUresult cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, std::size_t bytes, CUstream stream) {
    NEED_CONTEXT_AND(bytes);
    return copy_to_host(to, from, bytes, stream);
}
CUresult cuMemcpyDtoH_v2(void *to, CUdeviceptr from, std::size_t bytes) {
    NEED_CONTEXT_AND(bytes);
    return finish(copy_to_host(to, from, bytes, nullptr));
}
CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, std::size_t bytes, CUstream stream) {
    NEED_CONTEXT_AND(bytes);
    return copy_within(to, device_of(stream), from, device_of(stream), bytes, stream);
}
CUresult cuMemcpyDtoD_v2(CUdeviceptr to, CUdeviceptr from, std::size_t bytes) {
    NEED_CONTEXT_AND(bytes);
    return finish(cuMemcpyDtoDAsync_v2(to, from, bytes, nullptr));
}
CUresult cuMemcpyPeerAsync(CUdeviceptr to, CUcontext to_context, CUdeviceptr from, CUcontext from_context, std::size_t bytes,
                           CUstream stream) {
    NEED_CONTEXT_AND(bytes);
    if (!to_context || !from_context) return CUDA_ERROR_INVALID_CONTEXT;
    return copy_within(to, to_context->device, from, from_context->device, bytes, stream);
}
CUresult cuMemcpyPeer(CUdeviceptr to, CUcontext to_context, CUdeviceptr from, CUcontext from_context, std::size_t bytes) {
    NEED_CONTEXT_AND(bytes);
    return finish(cuMemcpyPeerAsync(to, to_context, from, from_context, bytes, nullptr));
}
CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, std::size_t count, CUstream stream) {
    NEED_CONTEXT_AND(count);
    return set_async(to, value, count, stream);
}
CUresult cuMemsetD16Async(CUdeviceptr to, unsigned short value, std::size_t count, CUstream stream) {
    NEED_CONTEXT_AND(count);
    return set_async(to, value, count, stream);
}
CUresult cuMemsetD32Async(CUdeviceptr to, unsigned value, std::size_t count, CUstream stream) {
    NEED_CONTEXT_AND(count);
    return set_async(to, value, count, stream);
}
CUresult cuMemsetD8_v2(CUdeviceptr to, unsigned char value, std::size_t count) {
    NEED_CONTEXT_AND(count);
    return finish(set_async(to, value, count, nullptr));
}
CUresult cuMemsetD32_v2(CUdeviceptr to, unsigned value, std::size_t count) {
    NEED_CONTEXT_AND(count);
    return finish(set_async(to, value, count, nullptr));
}
CUresult cuMemGetInfo_v2(std::size_t *free, std::size_t *total) {
    NEED_CONTEXT;
    *total = memory_total();
    *free = *total - memory_used(current_device());
    return CUDA_SUCCESS;
}

} // extern "C"
