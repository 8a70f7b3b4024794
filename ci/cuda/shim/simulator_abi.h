// What compiled kernels and the simulated driver know of each other. Included by both.
#pragma once

struct uint3 {
    unsigned x, y, z;
};

// A kernel's parameter: how many bytes a launch copies, and whether they are a pointer, which a launch checks.
struct simulator_parameter {
    unsigned bytes;
    bool pointer;
};

// One for each `extern "C" __global__` function, under the name `simulator_kernel_NAME`.
struct simulator_kernel {
    const char *name;
    void (*run)(void **arguments); // runs one thread, of the indices below
    unsigned parameter_count;
    const simulator_parameter *parameters;
    unsigned max_threads; // of __launch_bounds__
};

extern "C" {
// Set by the driver before a thread runs. The driver's library is there from the program's start, so the fast access
// model is allowed.
#define SIMULATOR_INDEX extern __thread __attribute__((tls_model("initial-exec")))
SIMULATOR_INDEX uint3 simulator_thread_index;
SIMULATOR_INDEX uint3 simulator_block_index;
SIMULATOR_INDEX uint3 simulator_block_size;
SIMULATOR_INDEX uint3 simulator_grid_size;

void simulator_syncthreads();
// All threads of the mask meet; then `received` holds what the warp's thread number `source` gave as `given`.
void simulator_exchange(unsigned mask, const void *given, void *received, unsigned bytes, unsigned source);
unsigned simulator_ballot(unsigned mask, bool vote);
unsigned simulator_lane();
// The launch's dynamic shared memory.
void *simulator_dynamic_shared();
}
