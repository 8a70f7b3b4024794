#pragma once
#include "../shim/simulator_abi.h"

#include <cstddef>

namespace simulator {

// Where the `__shared__` variables of a module lie: they are its only thread-local ones.
struct StaticShared {
    std::size_t tls_module = 0, bytes = 0;
};

// Runs all threads of a launch in the calling thread.
void run_grid(const simulator_kernel &kernel, void **arguments, uint3 grid, uint3 block, unsigned shared_bytes,
              StaticShared shared);

} // namespace simulator
