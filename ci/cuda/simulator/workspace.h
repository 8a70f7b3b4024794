// A library's scratch memory. The simulated libraries have no use for it, so they put marks into it instead: who reads
// it or shares it between two streams is found out.
#pragma once
#include "simulator.h"
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace simulator {

// To be made at the start of work and destroyed at its end.
class Workspace {
  public:
    Workspace(void *memory, std::size_t bytes, const char *owner) : memory(memory), bytes(bytes), owner(owner) {
        static std::atomic<std::uint64_t> counter{0};
        // Not numbers as floats of any type, and different for every user.
        mark = 0xffff0000ffff0000 | ((counter.fetch_add(1) % 0xfffe + 1) * 0x0000000100000001);
        for (std::size_t i = 0; i + 8 <= bytes; i += 8) std::memcpy(at(i), &mark, 8);
    }
    ~Workspace() {
        for (std::size_t i = 0; i + 8 <= bytes; i += 8)
            if (std::memcmp(at(i), &mark, 8) != 0)
                fail("the workspace of %s (%zu bytes at %p) changed while it was in use: streams share it", owner,
                     bytes, memory);
        if (bytes) std::memset(memory, 0xff, bytes);
    }
    Workspace(const Workspace &) = delete;

  private:
    char *at(std::size_t offset) { return static_cast<char *>(memory) + offset; }
    void *memory;
    std::size_t bytes;
    const char *owner;
    std::uint64_t mark;
};

} // namespace simulator
