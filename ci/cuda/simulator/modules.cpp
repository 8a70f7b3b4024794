// Modules, functions and launches. A module is a shared object that the stand-in nvcc made of a .cu file; its "PTX" is
// a text that names it.
#include "block.h"
#include "internal.h"
#include <csignal>
#include <cstdio>
#include <cstring>
#include <dlfcn.h>
#include <link.h>
#include <string>
#include <unordered_set>
#include <vector>

struct CUmod_st {
    void *library;
    int device;
    simulator::StaticShared shared;
};
typedef CUmod_st *CUmodule;
struct CUfunc_st {
    const simulator_kernel *kernel;
    int device;
    simulator::StaticShared shared;
};
typedef CUfunc_st *CUfunction;

namespace simulator {
namespace {

std::mutex functions_mutex;
std::unordered_set<CUfunction> &functions() {
    static auto *it = new std::unordered_set<CUfunction>;
    return *it;
}

CUfunction known(CUfunction function) {
    std::lock_guard<std::mutex> lock(functions_mutex);
    if (!functions().count(function)) fail("the kernel handle %p comes from no cuModuleGetFunction", (void *)function);
    return function;
}

thread_local const char *running_kernel = nullptr;
struct sigaction earlier_action;

// A kernel that touches memory that is not there is named; any other fault goes where it went before.
void on_fault(int signal, siginfo_t *info, void *context) {
    if (running_kernel) {
        const uint3 b = simulator_block_index, t = simulator_thread_index;
        fail("kernel %s, block (%u, %u, %u), thread (%u, %u, %u): no memory at %p", running_kernel, b.x, b.y, b.z, t.x, t.y,
             t.z, info->si_addr);
    }
    if (earlier_action.sa_flags & SA_SIGINFO) earlier_action.sa_sigaction(signal, info, context);
    else sigaction(signal, &earlier_action, nullptr);
}

void watch_faults() {
    static const int installed = [] {
        struct sigaction action = {};
        action.sa_sigaction = on_fault;
        action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
        return sigaction(SIGSEGV, &action, &earlier_action);
    }();
    (void)installed;
}

StaticShared shared_of(void *library) {
    StaticShared shared;
    dlinfo(library, RTLD_DI_TLS_MODID, &shared.tls_module);
    auto find = [](dl_phdr_info *info, std::size_t, void *data) {
        auto *shared = static_cast<StaticShared *>(data);
        for (int i = 0; i < info->dlpi_phnum; i++)
            if (info->dlpi_tls_modid == shared->tls_module && info->dlpi_phdr[i].p_type == PT_TLS)
                shared->bytes = info->dlpi_phdr[i].p_memsz;
        return 0;
    };
    if (shared.tls_module) dl_iterate_phdr(find, &shared);
    return shared;
}

// Everything that a launch needs later; the caller's values are gone by then.
struct Launch {
    const simulator_kernel *kernel;
    uint3 grid, block;
    unsigned shared_bytes;
    StaticShared shared;
    std::vector<std::vector<unsigned char>> values;

    void run() {
        std::vector<void *> arguments;
        for (auto &value : values) arguments.push_back(value.data());
        running_kernel = kernel->name;
        run_grid(*kernel, arguments.data(), grid, block, shared_bytes, shared);
        running_kernel = nullptr;
        for (unsigned i = 0; i < kernel->parameter_count; i++)
            if (kernel->parameters[i].pointer) check_red_zones(*static_cast<void **>(arguments[i]), kernel->name);
    }
};

} // namespace
} // namespace simulator

using namespace simulator;

extern "C" {

CUresult cuModuleLoadData(CUmodule *module, const void *image) {
    if (current_device() < 0) return CUDA_ERROR_INVALID_CONTEXT;
    const char *text = static_cast<const char *>(image), *marker = "//simulated ";
    if (std::strncmp(text, marker, std::strlen(marker)) != 0) {
        std::fprintf(stderr, "simulated CUDA: this module is not of the stand-in nvcc, or its file did not compile with g++\n");
        return CUDA_ERROR_INVALID_IMAGE;
    }
    text += std::strlen(marker);
    std::string path(text, std::strcspn(text, "\n"));
    void *library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        std::fprintf(stderr, "simulated CUDA: %s\n", dlerror());
        return CUDA_ERROR_FILE_NOT_FOUND;
    }
    watch_faults();
    *module = new CUmod_st{library, current_device(), shared_of(library)};
    return CUDA_SUCCESS;
}
CUresult cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned, void *, void **) {
    return cuModuleLoadData(module, image);
}
// The shared object stays: launches of its kernels may be in a queue.
CUresult cuModuleUnload(CUmodule module) {
    delete module;
    return CUDA_SUCCESS;
}
CUresult cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name) {
    std::string symbol = std::string("simulator_kernel_") + name;
    auto *kernel = static_cast<const simulator_kernel *>(dlsym(module->library, symbol.c_str()));
    if (!kernel) return CUDA_ERROR_NOT_FOUND;
    *function = new CUfunc_st{kernel, module->device, module->shared};
    std::lock_guard<std::mutex> lock(functions_mutex);
    functions().insert(*function);
    return CUDA_SUCCESS;
}
CUresult cuFuncGetAttribute(int *value, int attribute, CUfunction function) {
    const simulator_kernel *kernel = known(function)->kernel;
    switch (attribute) {
    case 0: *value = kernel->max_threads; break; // threads per block
    case 4: *value = 32; break;                  // registers
    case 5: case 6: *value = 80; break;          // architectures
    case 8: *value = 49152; break;               // dynamic shared memory
    default: *value = 0;
    }
    return CUDA_SUCCESS;
}
CUresult cuFuncSetAttribute(CUfunction function, int, int) { return known(function), CUDA_SUCCESS; }
CUresult cuFuncSetCacheConfig(CUfunction function, int) { return known(function), CUDA_SUCCESS; }
CUresult cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *blocks, CUfunction function, int threads, std::size_t,
                                                              unsigned) {
    known(function);
    if (threads <= 0) return CUDA_ERROR_INVALID_VALUE;
    return *blocks = 2048 / threads, CUDA_SUCCESS;
}
CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, CUfunction function, int threads, std::size_t bytes) {
    return cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(blocks, function, threads, bytes, 0);
}
CUresult cuOccupancyMaxPotentialBlockSizeWithFlags(int *grid, int *block, CUfunction function, void *, std::size_t, int limit,
                                                   unsigned) {
    int most = static_cast<int>(known(function)->kernel->max_threads);
    *block = limit > 0 && limit < most ? limit : most;
    return *grid = 4 * (2048 / *block), CUDA_SUCCESS;
}
CUresult cuOccupancyMaxPotentialBlockSize(int *grid, int *block, CUfunction function, void *size, std::size_t bytes, int limit) {
    return cuOccupancyMaxPotentialBlockSizeWithFlags(grid, block, function, size, bytes, limit, 0);
}

CUresult cuLaunchKernel(CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                        unsigned block_y, unsigned block_z, unsigned shared_bytes, CUstream stream, void **parameters,
                        void **extra) {
    if (current_device() < 0) return CUDA_ERROR_INVALID_CONTEXT;
    const simulator_kernel *kernel = known(function)->kernel;
    if (extra) return CUDA_ERROR_NOT_SUPPORTED;
    if (grid_x == 0 || grid_y == 0 || grid_z == 0 || block_x == 0 || block_y == 0 || block_z == 0 || grid_x > 2147483647u ||
        grid_y > 65535 || grid_z > 65535 || block_x > 1024 || block_y > 1024 || block_z > 64 ||
        std::size_t(block_x) * block_y * block_z > 1024 || shared_bytes > 166912)
        return CUDA_ERROR_INVALID_VALUE;
    if (block_x * block_y * block_z > kernel->max_threads) return CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES;
    int device = device_of(stream);
    if (function->device != device)
        fail("kernel %s was loaded on device %d and is launched on a stream of device %d", kernel->name, function->device, device);
    auto launch = std::make_shared<Launch>();
    *launch = {kernel, {grid_x, grid_y, grid_z}, {block_x, block_y, block_z}, shared_bytes, function->shared, {}};
    for (unsigned i = 0; i < kernel->parameter_count; i++) {
        const simulator_parameter &parameter = kernel->parameters[i];
        auto *from = static_cast<unsigned char *>(parameters[i]);
        launch->values.emplace_back(from, from + parameter.bytes);
        if (parameter.pointer && !usable_in_kernel(*reinterpret_cast<void **>(from), device))
            fail("kernel %s: argument %u (from 0), %p, is no live memory of device %d", kernel->name, i,
                 *reinterpret_cast<void **>(from), device);
    }
    enqueue(stream, [launch] { launch->run(); });
    return CUDA_SUCCESS;
}

} // extern "C"
