// Runs check.cu's kernels on simulated devices: check PTX [WRONG].
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <unistd.h>
#include <vector>

typedef unsigned long long CUdeviceptr;
struct Opaque;
typedef Opaque *Handle;
extern "C" {
int cuInit(unsigned);
int cuDeviceGetCount(int *);
int cuDevicePrimaryCtxRetain(Handle *, int);
int cuCtxSetCurrent(Handle);
int cuStreamCreate(Handle *, unsigned);
int cuStreamSynchronize(Handle);
int cuStreamWaitEvent(Handle, Handle, unsigned);
int cuEventCreate(Handle *, unsigned);
int cuEventRecord(Handle, Handle);
int cuMemAllocAsync(CUdeviceptr *, std::size_t, Handle);
int cuMemFreeAsync(CUdeviceptr, Handle);
int cuMemcpyHtoDAsync_v2(CUdeviceptr, const void *, std::size_t, Handle);
int cuMemcpyDtoHAsync_v2(void *, CUdeviceptr, std::size_t, Handle);
int cuMemHostAlloc(void **, std::size_t, unsigned);
int cuMemFreeHost(void *);
int cuLaunchHostFunc(Handle, void (*)(void *), void *);
int cuMemsetD8Async(CUdeviceptr, unsigned char, std::size_t, Handle);
int cuMemcpyPeerAsync(CUdeviceptr, Handle, CUdeviceptr, Handle, std::size_t, Handle);
int cuModuleLoadData(Handle *, const void *);
int cuModuleGetFunction(Handle *, Handle, const char *);
int cuLaunchKernel(Handle, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, Handle, void **, void **);
}

static void check(bool right, const char *what) {
    if (right) return;
    std::fprintf(stderr, "ci/cuda/test: %s\n", what);
    std::exit(1);
}
#define CALL(expression) check((expression) == 0, #expression)

// A program that is wrong in the way its name says: it must be stopped.
static void run_wrong(const std::string &name, Handle *contexts, Handle module) {
    Handle kernel, stream;
    CUdeviceptr values;
    void *arguments[] = {&values, &values};
    CALL(cuStreamCreate(&stream, 1));
    CALL(cuMemAllocAsync(&values, 16, stream));
    auto launch = [&](const char *kernel_name, unsigned threads) {
        CALL(cuModuleGetFunction(&kernel, module, kernel_name));
        CALL(cuLaunchKernel(kernel, 1, 1, 1, threads, 1, 1, 0, stream, arguments, nullptr));
        CALL(cuStreamSynchronize(stream));
    };
    if (name == "past_the_end") launch("kernel_writes", 5);
    if (name == "reads_past_the_end") launch("kernel_reads", 5);
    if (name == "lost_threads") launch("kernel_loses", 32);
    if (name == "freed" || name == "freed_twice") CALL(cuMemFreeAsync(values, stream));
    if (name == "freed") launch("kernel_writes", 1);
    if (name == "freed_twice") CALL(cuMemFreeAsync(values, stream));
    if (name == "elsewhere") {
        CALL(cuCtxSetCurrent(contexts[1]));
        CALL(cuStreamCreate(&stream, 1));
        CALL(cuMemsetD8Async(values, 0, 1, stream));
    }
    if (name == "pinned_in_use") {
        void *pinned;
        CALL(cuMemHostAlloc(&pinned, 16, 0));
        CALL(cuLaunchHostFunc(stream, [](void *) { sleep(1); }, nullptr));
        CALL(cuMemcpyHtoDAsync_v2(values, pinned, 16, stream));
        CALL(cuMemFreeHost(pinned));
    }
}

int main(int argument_count, char **arguments) {
    std::string wrong = argument_count > 2 ? arguments[2] : "";
    if (wrong == "no_devices") {
        check(cuInit(0) == 100, "without devices cuInit answers CUDA_ERROR_NO_DEVICE");
        std::puts("no devices");
        return 0;
    }
    std::ifstream file(arguments[1]);
    std::string ptx((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    int devices;
    CALL(cuInit(0));
    CALL(cuDeviceGetCount(&devices));
    check(devices == 2, "two devices");

    Handle contexts[2];
    for (int i = 0; i < 2; i++) CALL(cuDevicePrimaryCtxRetain(&contexts[i], i));
    CALL(cuCtxSetCurrent(contexts[0]));
    Handle module;
    CALL(cuModuleLoadData(&module, ptx.c_str()));
    if (!wrong.empty()) return run_wrong(wrong, contexts, module), 0;
    Handle sum, sum_bf16, scale, count_up, copies, stream, event;
    CALL(cuModuleGetFunction(&sum, module, "sum_f32"));
    CALL(cuModuleGetFunction(&sum_bf16, module, "sum_bf16"));
    CALL(cuModuleGetFunction(&scale, module, "scale_f32"));
    CALL(cuModuleGetFunction(&count_up, module, "count_up"));
    check(cuModuleGetFunction(&event, module, "nothing") == 500, "a kernel that is not there is not found");
    CALL(cuStreamCreate(&copies, 1));
    CALL(cuStreamCreate(&stream, 1));
    CALL(cuEventCreate(&event, 2));

    // Copy on one stream, compute on another that waits for it.
    int count = 1000;
    unsigned long long wide = count;
    std::vector<float> values(count), sums(4);
    for (int i = 0; i < count; i++) values[i] = i;
    CUdeviceptr device_values, device_sums;
    CALL(cuMemAllocAsync(&device_values, count * 4, copies));
    CALL(cuMemcpyHtoDAsync_v2(device_values, values.data(), count * 4, copies));
    CALL(cuEventRecord(event, copies));
    CALL(cuStreamWaitEvent(stream, event, 0));
    CALL(cuMemAllocAsync(&device_sums, 4 * 4, stream));
    float factor = 2;
    void *scaled[] = {&device_values, &factor, &wide}, *summed[] = {&device_values, &device_sums, &count};
    CALL(cuLaunchKernel(scale, 4, 1, 1, 256, 1, 1, 0, stream, scaled, nullptr));
    CALL(cuLaunchKernel(sum, 4, 1, 1, 256, 1, 1, 0, stream, summed, nullptr));
    CALL(cuMemcpyDtoHAsync_v2(sums.data(), device_sums, 16, stream));
    CALL(cuStreamSynchronize(stream));
    check(sums[0] == 255 * 256 && sums[0] + sums[1] + sums[2] + sums[3] == 999 * 1000, "sums of f32");
    check(cuLaunchKernel(sum, 1, 1, 1, 512, 1, 1, 0, stream, summed, nullptr) == 701, "launch bounds hold");

    std::vector<unsigned short> ones(count, 0x3F80);
    CALL(cuMemcpyHtoDAsync_v2(device_values, ones.data(), count * 2, stream));
    CALL(cuLaunchKernel(sum_bf16, 4, 1, 1, 256, 1, 1, 0, stream, summed, nullptr));
    CALL(cuMemcpyDtoHAsync_v2(sums.data(), device_sums, 16, stream));
    check(sums[0] == 256 && sums[3] == 1000 - 3 * 256, "sums of bf16");

    unsigned long long counted = 0;
    void *counter[] = {&device_values};
    CALL(cuMemsetD8Async(device_values, 0, 8, stream));
    CALL(cuLaunchKernel(count_up, 3, 2, 1, 33, 1, 2, 0, stream, counter, nullptr));
    CALL(cuMemcpyDtoHAsync_v2(&counted, device_values, 8, stream));
    check(counted == 3 * 2 * 33 * 2, "every thread of every block counts once");

    Handle leftover;
    void *found[] = {&device_sums};
    CALL(cuModuleGetFunction(&leftover, module, "leftover"));
    CALL(cuLaunchKernel(leftover, 4, 1, 1, 1, 1, 1, 0, stream, found, nullptr));
    CALL(cuMemcpyDtoHAsync_v2(sums.data(), device_sums, 16, stream));
    check(sums[0] != sums[0] && sums[3] != sums[3], "shared memory is unset when a block starts");

    // To the other device and back.
    CUdeviceptr elsewhere;
    Handle other;
    CALL(cuCtxSetCurrent(contexts[1]));
    CALL(cuStreamCreate(&other, 1));
    CALL(cuMemAllocAsync(&elsewhere, 8, other));
    CALL(cuMemcpyPeerAsync(elsewhere, contexts[1], device_values, contexts[0], 8, other));
    CALL(cuMemcpyDtoHAsync_v2(&counted, elsewhere, 8, other));
    check(counted == 396, "a copy between devices");
    CALL(cuMemFreeAsync(elsewhere, other));
    CALL(cuStreamSynchronize(other));
    CALL(cuCtxSetCurrent(contexts[0]));
    CALL(cuMemFreeAsync(device_values, stream));
    CALL(cuMemFreeAsync(device_sums, stream));
    CALL(cuStreamSynchronize(stream));
}
