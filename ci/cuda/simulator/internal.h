// What the files of the simulated driver share. simulator.h is what the other libraries see.
#pragma once
#include "simulator.h"
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>

// The numbers of cuda.h that we answer.
enum CUresult {
    CUDA_SUCCESS = 0,
    CUDA_ERROR_INVALID_VALUE = 1,
    CUDA_ERROR_OUT_OF_MEMORY = 2,
    CUDA_ERROR_NO_DEVICE = 100,
    CUDA_ERROR_INVALID_DEVICE = 101,
    CUDA_ERROR_INVALID_IMAGE = 200,
    CUDA_ERROR_INVALID_CONTEXT = 201,
    CUDA_ERROR_FILE_NOT_FOUND = 301,
    CUDA_ERROR_INVALID_HANDLE = 400,
    CUDA_ERROR_NOT_FOUND = 500,
    CUDA_ERROR_NOT_READY = 600,
    CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES = 701,
    CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED = 712,
    CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED = 713,
    CUDA_ERROR_NOT_SUPPORTED = 801,
};
typedef int CUdevice;
typedef unsigned long long CUdeviceptr;
struct CUctx_st {
    int device;
};
typedef CUctx_st *CUcontext;

namespace simulator {

// What an event stands for once it is recorded: a point in a stream's queue.
class Completion {
  public:
    void complete();
    void wait();
    bool done();
    std::chrono::steady_clock::time_point time; // set when done

  private:
    std::mutex mutex;
    std::condition_variable changed;
    bool is_done = false;
};

// Enqueues a point.
std::shared_ptr<Completion> mark(CUstream stream);
// Waits for everything on all streams of the device.
void synchronize_device(int device);
// The default stream of a device.
CUstream default_stream(int device);

// FEEDLINE_SIMULATOR_DELAY=1: streams sleep now and then, blocks and threads start in either order.
bool delays();
// A number below `bound`, of this thread's own generator.
unsigned random_below(unsigned bound);
bool variable_is_set(const char *name);

// Whether a kernel of the device may use the pointer: null, device memory (its end included, for empty slices) or pinned.
bool usable_in_kernel(const void *pointer, int device);
// Aborts if the bytes around the allocation that holds the pointer were written.
void check_red_zones(const void *pointer, const char *culprit);
// How much device memory is in use, and there is.
std::size_t memory_used(int device);
std::size_t memory_total();

} // namespace simulator
