// Start-up, devices, contexts, memory pools' settings and the texts of errors. FEEDLINE_SIMULATED_GPUS says how many
// devices there are; without it, and with 0, all is as on a machine with the driver's library but no GPU.
#include "internal.h"
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <vector>

// Settings only: all memory of a device comes from one place.
struct CUmemPoolHandle_st {
    int device;
    std::uint64_t attributes[9] = {0, 1, 1, 1, 0, 0, 0, 0, 0};
    std::mutex mutex;
    std::map<int, int> access; // flags by device
};
typedef CUmemPoolHandle_st *CUmemoryPool;
struct CUmemLocation {
    int type, id;
};
struct CUmemAccessDesc {
    CUmemLocation location;
    int flags;
};

namespace simulator {
namespace {

// The current context is the last. Without a destructor, as other destructors of the thread still use it.
struct Contexts {
    static constexpr int limit = 16;
    CUcontext all[limit];
    int count;
    CUcontext current() const { return count ? all[count - 1] : nullptr; }
    void push(CUcontext context) {
        if (count == limit) fail("more than %d contexts are pushed in a thread", limit);
        all[count++] = context;
    }
};
thread_local Contexts contexts;
std::atomic<bool> initialized{false};

struct Device {
    CUctx_st primary;
    std::atomic<int> retained{0};
    CUmemPoolHandle_st pool;
    CUmemoryPool current_pool = &pool;
};
Device &device(int index) {
    static Device *all = [] {
        Device *devices = new Device[device_count()];
        for (int i = 0; i < device_count(); i++) devices[i].primary.device = devices[i].pool.device = i;
        return devices;
    }();
    return all[index];
}

const std::map<int, int> attributes = {
    {1, 1024},        // threads per block
    {2, 1024},        // .. and along x, y, z
    {3, 1024},        {4, 64},
    {5, 2147483647},  // blocks along x, y, z
    {6, 65535},       {7, 65535},
    {8, 49152},       // shared memory per block
    {9, 65536},       // constant memory
    {10, 32},         // threads per warp
    {11, 2147483647}, // pitch
    {12, 65536},      // registers per block
    {13, 1000000},    // clock, kHz
    {15, 1},          // copies overlap kernels
    {16, 4},          // multiprocessors
    {19, 1},          // maps host memory
    {31, 1},          // concurrent kernels
    {36, 1000000},    // memory clock, kHz
    {37, 5120},       // memory bus, bits
    {38, 4 << 20},    // L2 cache
    {39, 2048},       // threads per multiprocessor
    {40, 2},          // copy engines
    {41, 1},          // unified addresses
    {75, 8},          // compute capability
    {76, 0},          {78, 1},      // priorities of streams
    {81, 167936},     // shared memory per multiprocessor
    {97, 166912},     // .. and per block, on request
    {115, 1},         // memory pools
};

CUresult check(int index) {
    if (!initialized) return static_cast<CUresult>(3); // CUDA_ERROR_NOT_INITIALIZED
    return index >= 0 && index < device_count() ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}
#define NEED_DEVICE(index)                                                                                             \
    if (CUresult status = check(index)) return status

struct Text {
    const char *name, *text;
};
const std::map<int, Text> errors = {
    {0, {"CUDA_SUCCESS", "no error"}},
    {1, {"CUDA_ERROR_INVALID_VALUE", "invalid argument"}},
    {2, {"CUDA_ERROR_OUT_OF_MEMORY", "out of memory"}},
    {3, {"CUDA_ERROR_NOT_INITIALIZED", "initialization error"}},
    {100, {"CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"}},
    {101, {"CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"}},
    {200, {"CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"}},
    {201, {"CUDA_ERROR_INVALID_CONTEXT", "invalid device context"}},
    {301, {"CUDA_ERROR_FILE_NOT_FOUND", "file not found"}},
    {400, {"CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"}},
    {500, {"CUDA_ERROR_NOT_FOUND", "named symbol not found"}},
    {600, {"CUDA_ERROR_NOT_READY", "device not ready"}},
    {701, {"CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES", "too many resources requested for launch"}},
    {712, {"CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED", "part or all of the requested memory range is already mapped"}},
    {713, {"CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED", "pointer does not correspond to a registered memory region"}},
    {801, {"CUDA_ERROR_NOT_SUPPORTED", "operation not supported"}},
};

} // namespace

// The numbers of those that may be seen: CUDA_VISIBLE_DEVICES, up to the first that there is not.
static const std::vector<int> &visible() {
    static const std::vector<int> devices = [] {
        const char *value = std::getenv("FEEDLINE_SIMULATED_GPUS");
        const int number = value ? std::atoi(value) : 0;
        std::vector<int> all;
        const char *list = std::getenv("CUDA_VISIBLE_DEVICES");
        for (int device = 0; !list && device < number; device++) all.push_back(device);
        while (list && *list) {
            char *end;
            const long device = std::strtol(list, &end, 10);
            if (end == list || device < 0 || device >= number) break;
            all.push_back(static_cast<int>(device));
            list = *end == ',' ? end + 1 : end;
        }
        return all;
    }();
    return devices;
}

int device_count() { return static_cast<int>(visible().size()); }

int current_device() { return contexts.current() ? contexts.current()->device : -1; }

} // namespace simulator

using namespace simulator;

extern "C" {

CUresult cuInit(unsigned) {
    if (device_count() == 0) return CUDA_ERROR_NO_DEVICE;
    initialized = true;
    return CUDA_SUCCESS;
}
CUresult cuDriverGetVersion(int *version) {
    *version = 13000;
    return CUDA_SUCCESS;
}
CUresult cuDeviceGetCount(int *count) {
    if (device_count() == 0) return CUDA_ERROR_NO_DEVICE;
    *count = device_count();
    return CUDA_SUCCESS;
}
CUresult cuDeviceGet(CUdevice *result, int index) {
    NEED_DEVICE(index);
    *result = index;
    return CUDA_SUCCESS;
}
CUresult cuDeviceGetName(char *name, int length, CUdevice index) {
    NEED_DEVICE(index);
    std::snprintf(name, length, "Simulated GPU %d", visible()[index]);
    return CUDA_SUCCESS;
}
CUresult cuDeviceGetUuid_v2(char *uuid, CUdevice index) {
    NEED_DEVICE(index);
    std::memcpy(uuid, "simulated GPU \0", 15);
    uuid[15] = static_cast<char>(visible()[index]);
    return CUDA_SUCCESS;
}
CUresult cuDeviceGetUuid(char *uuid, CUdevice index) { return cuDeviceGetUuid_v2(uuid, index); }
CUresult cuDeviceGetPCIBusId(char *text, int length, CUdevice index) {
    NEED_DEVICE(index);
    std::snprintf(text, length, "0000:%02x:00.0", visible()[index] + 1);
    return CUDA_SUCCESS;
}
CUresult cuDeviceTotalMem_v2(std::size_t *bytes, CUdevice index) {
    NEED_DEVICE(index);
    *bytes = memory_total();
    return CUDA_SUCCESS;
}
CUresult cuDeviceGetAttribute(int *value, int attribute, CUdevice index) {
    NEED_DEVICE(index);
    auto found = attributes.find(attribute);
    *value = found == attributes.end() ? 0 : found->second;
    if (attribute == 33) *value = visible()[index] + 1; // the PCI bus
    return CUDA_SUCCESS;
}
CUresult cuDeviceCanAccessPeer(int *can, CUdevice index, CUdevice peer) {
    NEED_DEVICE(index);
    NEED_DEVICE(peer);
    *can = index != peer;
    return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice index) {
    NEED_DEVICE(index);
    ++device(index).retained;
    *context = &device(index).primary;
    return CUDA_SUCCESS;
}
CUresult cuDevicePrimaryCtxRelease_v2(CUdevice index) {
    NEED_DEVICE(index);
    if (--device(index).retained < 0) fail("the primary context of device %d is released more often than retained", index);
    return CUDA_SUCCESS;
}
CUresult cuDevicePrimaryCtxGetState(CUdevice index, unsigned *flags, int *active) {
    NEED_DEVICE(index);
    *flags = 0;
    *active = device(index).retained > 0;
    return CUDA_SUCCESS;
}
CUresult cuCtxCreate_v4(CUcontext *context, void *, unsigned, CUdevice index) {
    NEED_DEVICE(index);
    *context = new CUctx_st{index};
    contexts.push(*context);
    return CUDA_SUCCESS;
}
CUresult cuCtxDestroy_v2(CUcontext context) {
    while (contexts.count && contexts.current() == context) contexts.count--;
    delete context;
    return CUDA_SUCCESS;
}
CUresult cuCtxSetCurrent(CUcontext context) {
    if (contexts.count) contexts.count--;
    if (context) contexts.push(context);
    return CUDA_SUCCESS;
}
CUresult cuCtxGetCurrent(CUcontext *context) {
    *context = contexts.current();
    return CUDA_SUCCESS;
}
CUresult cuCtxPushCurrent_v2(CUcontext context) {
    contexts.push(context);
    return CUDA_SUCCESS;
}
CUresult cuCtxPopCurrent_v2(CUcontext *context) {
    if (!contexts.count) return CUDA_ERROR_INVALID_CONTEXT;
    if (context) *context = contexts.current();
    contexts.count--;
    return CUDA_SUCCESS;
}
CUresult cuCtxGetDevice(CUdevice *index) {
    if (current_device() < 0) return CUDA_ERROR_INVALID_CONTEXT;
    *index = current_device();
    return CUDA_SUCCESS;
}
CUresult cuStreamGetCtx(CUstream stream, CUcontext *context) {
    *context = &device(device_of(stream)).primary;
    return CUDA_SUCCESS;
}
CUresult cuCtxSetFlags(unsigned) { return CUDA_SUCCESS; }
CUresult cuCtxGetFlags(unsigned *flags) { return *flags = 0, CUDA_SUCCESS; }
CUresult cuCtxSetLimit(int, std::size_t) { return CUDA_SUCCESS; }
CUresult cuCtxGetLimit(std::size_t *value, int) { return *value = 0, CUDA_SUCCESS; }
CUresult cuCtxSetCacheConfig(int) { return CUDA_SUCCESS; }
CUresult cuCtxGetCacheConfig(int *value) { return *value = 0, CUDA_SUCCESS; }
CUresult cuCtxResetPersistingL2Cache() { return CUDA_SUCCESS; }
CUresult cuProfilerStart() { return CUDA_SUCCESS; }
CUresult cuProfilerStop() { return CUDA_SUCCESS; }

CUresult cuDeviceGetDefaultMemPool(CUmemoryPool *pool, CUdevice index) {
    NEED_DEVICE(index);
    *pool = &device(index).pool;
    return CUDA_SUCCESS;
}
CUresult cuDeviceGetMemPool(CUmemoryPool *pool, CUdevice index) {
    NEED_DEVICE(index);
    *pool = device(index).current_pool;
    return CUDA_SUCCESS;
}
CUresult cuDeviceSetMemPool(CUdevice index, CUmemoryPool pool) {
    NEED_DEVICE(index);
    device(index).current_pool = pool;
    return CUDA_SUCCESS;
}
// The first three attributes are of type int, the others 64 bits wide.
CUresult cuMemPoolSetAttribute(CUmemoryPool pool, int attribute, void *value) {
    if (attribute < 1 || attribute > 8) return CUDA_ERROR_INVALID_VALUE;
    pool->attributes[attribute] = attribute <= 3 ? *static_cast<int *>(value) : *static_cast<std::uint64_t *>(value);
    return CUDA_SUCCESS;
}
CUresult cuMemPoolGetAttribute(CUmemoryPool pool, int attribute, void *value) {
    if (attribute < 1 || attribute > 8) return CUDA_ERROR_INVALID_VALUE;
    std::uint64_t number = attribute >= 5 ? memory_used(pool->device) : pool->attributes[attribute];
    if (attribute <= 3) *static_cast<int *>(value) = static_cast<int>(number);
    else *static_cast<std::uint64_t *>(value) = number;
    return CUDA_SUCCESS;
}
CUresult cuMemPoolTrimTo(CUmemoryPool, std::size_t) { return CUDA_SUCCESS; }
// Noted only: kernels stay at home. Locations are devices (1); a device always has access (3) to a pool of its own.
CUresult cuMemPoolSetAccess(CUmemoryPool pool, const CUmemAccessDesc *all, std::size_t count) {
    std::lock_guard<std::mutex> lock(pool->mutex);
    for (auto one = all; one != all + count; ++one) {
        int index = one->location.id, flags = one->flags;
        NEED_DEVICE(index);
        if (one->location.type != 1 || (flags != 0 && flags != 3)) return CUDA_ERROR_INVALID_VALUE;
        if (index == pool->device && flags != 3) return CUDA_ERROR_INVALID_VALUE;
        pool->access[index] = flags;
    }
    return CUDA_SUCCESS;
}
CUresult cuMemPoolGetAccess(int *flags, CUmemoryPool pool, const CUmemLocation *location) {
    NEED_DEVICE(location->id);
    if (location->type != 1) return CUDA_ERROR_INVALID_VALUE;
    std::lock_guard<std::mutex> lock(pool->mutex);
    *flags = location->id == pool->device ? 3 : pool->access[location->id];
    return CUDA_SUCCESS;
}

CUresult cuGetErrorName(int error, const char **name) {
    auto found = errors.find(error);
    *name = found == errors.end() ? nullptr : found->second.name;
    return *name ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
CUresult cuGetErrorString(int error, const char **text) {
    auto found = errors.find(error);
    *text = found == errors.end() ? nullptr : found->second.text;
    return *text ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

} // extern "C"
