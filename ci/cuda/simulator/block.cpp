// Runs the threads of a kernel's blocks, one block after the other, in the stream's own thread.
//
// A thread that never waits runs as a plain call: one fiber (a stack of its own) runs thread after thread. Only when
// one waits, for __syncthreads or its warp, does another fiber go on with the threads that have not started. So
// element-wise kernels cost a call per element, and reductions work.
#include "block.h"
#include "internal.h"
#include <csetjmp>
#include <cstring>
#include <deque>
#include <sys/mman.h>
#include <ucontext.h>
#include <vector>

// Of the dynamic linker: the calling thread's copy of a module's thread-local variables.
struct tls_index {
    std::size_t module, offset;
};
extern "C" void *__tls_get_addr(tls_index *);

__thread uint3 simulator_thread_index, simulator_block_index, simulator_block_size, simulator_grid_size;

namespace simulator {
namespace {

constexpr unsigned warp_size = 32;
constexpr std::size_t stack_bytes = 256 << 10; // reserved; only what is touched takes memory
constexpr unsigned most_exchanged = 16;

struct Fiber {
    jmp_buf resume;
    bool started = false;
    ucontext_t first;
    unsigned thread = 0; // the one that it runs
    char *stack = static_cast<char *>(
        mmap(nullptr, stack_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    ~Fiber() { munmap(stack, stack_bytes); }
};

enum class State : unsigned char { unstarted, running, at_barrier, in_warp, finished };

struct Thread {
    State state;
    Fiber *fiber;
    // Of the meeting of its warp that it waits for:
    unsigned mask;
    unsigned char given[most_exchanged];
    unsigned bytes, source; // what it wants: a copy of what the source gave
    void *received;
    unsigned votes; // bit i: whether what thread i gave began with a byte other than 0
};

// What runs a stream's blocks; one per stream thread.
class Multiprocessor {
  public:
    void run_block(const simulator_kernel &kernel, void **arguments, bool reversed) {
        this->kernel = &kernel;
        this->arguments = arguments;
        this->reversed = reversed;
        count = simulator_block_size.x * simulator_block_size.y * simulator_block_size.z;
        next = finished = at_barrier = in_warp = 0;
        threads.resize(count);
        for (Thread &thread : threads) thread.state = State::unstarted;
        while (finished < count) {
            if (!ready.empty()) {
                Fiber *fiber = ready.front();
                ready.pop_front();
                threads[fiber->thread].state = State::running;
                run(fiber);
            } else if (next < count) {
                if (idle.empty()) idle.push_back(new Fiber);
                Fiber *fiber = idle.back();
                idle.pop_back();
                run(fiber);
            } else if (at_barrier == count - finished) {
                at_barrier = 0;
                for (Thread &thread : threads)
                    if (thread.state == State::at_barrier) ready.push_back(thread.fiber);
            } else {
                fail("kernel %s: of %u threads of a block %u wait at __syncthreads, %u are finished, and the others wait "
                     "for threads of their warp that never come",
                     kernel.name, count, at_barrier, finished);
            }
        }
    }

    // In a fiber from here on.
    void wait_at_barrier() {
        Thread &self = threads[current->thread];
        self.state = State::at_barrier;
        at_barrier++;
        leave();
    }

    // Waits for all threads of the mask. Returns their votes; `received` then holds what the source gave.
    unsigned meet(unsigned mask, const void *given, unsigned bytes, unsigned source, void *received) {
        unsigned index = current->thread;
        Thread &self = threads[index];
        if (bytes > most_exchanged) fail("kernel %s: a shuffle of %u bytes", kernel->name, bytes);
        if (!(mask >> index % warp_size & 1)) fail("kernel %s: a thread is not in its own mask %#x", kernel->name, mask);
        std::memcpy(self.given, given, bytes);
        self.mask = mask;
        self.bytes = bytes;
        self.source = source;
        self.received = received;
        self.state = State::in_warp;
        in_warp++;
        if (complete(index / warp_size, mask)) exchange(index / warp_size, mask, index);
        else leave();
        return self.votes;
    }

    unsigned lane() const { return current->thread % warp_size; }

    [[noreturn]] void fiber_main() {
        Fiber *self = current;
        for (;;) {
            while (next < count) {
                unsigned index = reversed ? count - 1 - next : next;
                next++;
                self->thread = index;
                threads[index].state = State::running;
                threads[index].fiber = self;
                set_index(index);
                kernel->run(arguments);
                threads[index].state = State::finished;
                finished++;
                after_finish(index);
            }
            idle.push_back(self);
            leave();
        }
    }

  private:
    void set_index(unsigned thread) {
        const uint3 size = simulator_block_size;
        if (size.y == 1 && size.z == 1) { // divisions are slow
            simulator_thread_index = {thread, 0, 0};
            return;
        }
        simulator_thread_index = {thread % size.x, thread / size.x % size.y, thread / size.x / size.y};
    }

    void run(Fiber *fiber);

    // Back to the scheduler, until it resumes this fiber.
    void leave() {
        Fiber *self = current;
        if (!_setjmp(self->resume)) _longjmp(scheduler, 1);
    }

    bool complete(unsigned warp, unsigned mask) const {
        for (unsigned lane = warp_size; lane-- > 0;) { // from the end: the last starts last
            unsigned index = warp * warp_size + lane;
            if (!(mask >> lane & 1) || index >= count || threads[index].state == State::finished) continue;
            if (threads[index].state != State::in_warp || threads[index].mask != mask) return false;
        }
        return true;
    }

    // Gives each thread of a complete meeting what it wants, and lets it go on: `here`, which runs, at once.
    void exchange(unsigned warp, unsigned mask, unsigned here) {
        Thread *all = &threads[warp * warp_size];
        unsigned met = 0, votes = 0;
        for (unsigned lane = 0; lane < warp_size && warp * warp_size + lane < count; lane++) {
            if (!(mask >> lane & 1) || all[lane].state != State::in_warp) continue;
            met |= 1u << lane;
            if (all[lane].given[0]) votes |= 1u << lane;
        }
        for (unsigned lane = 0; lane < warp_size; lane++) {
            if (!(met >> lane & 1)) continue;
            Thread &thread = all[lane];
            thread.votes = votes;
            if (met >> thread.source & 1) std::memcpy(thread.received, all[thread.source].given, thread.bytes);
            else std::memset(thread.received, 0xFF, thread.bytes); // undefined on a real device
            thread.state = State::running;
            in_warp--;
            if (warp * warp_size + lane != here) ready.push_back(thread.fiber);
        }
    }

    // A finished thread may be all that others waited for.
    void after_finish(unsigned index) {
        if (in_warp == 0) return;
        unsigned warp = index / warp_size;
        for (unsigned i = warp * warp_size; i < count && i < (warp + 1) * warp_size; i++)
            if (threads[i].state == State::in_warp && complete(warp, threads[i].mask)) exchange(warp, threads[i].mask, count);
    }

    const simulator_kernel *kernel;
    void **arguments;
    bool reversed;
    unsigned count, next, finished, at_barrier, in_warp;
    std::vector<Thread> threads;
    std::vector<Fiber *> idle;
    std::deque<Fiber *> ready;
    Fiber *current;
    jmp_buf scheduler;
};

thread_local Multiprocessor multiprocessor;
thread_local std::vector<char> dynamic_shared;

void enter_fiber() { multiprocessor.fiber_main(); }

void Multiprocessor::run(Fiber *fiber) {
    current = fiber;
    if (_setjmp(scheduler)) return;
    if (fiber->started) {
        set_index(fiber->thread);
        _longjmp(fiber->resume, 1);
    }
    fiber->started = true;
    getcontext(&fiber->first);
    fiber->first.uc_stack.ss_sp = fiber->stack;
    fiber->first.uc_stack.ss_size = stack_bytes;
    fiber->first.uc_link = nullptr;
    makecontext(&fiber->first, enter_fiber, 0);
    setcontext(&fiber->first);
}

} // namespace

void run_grid(const simulator_kernel &kernel, void **arguments, uint3 grid, uint3 block, unsigned shared_bytes,
              StaticShared shared) {
    // A kernel that needs an order of blocks or threads is wrong: let it show.
    bool reversed = delays() && random_below(2);
    simulator_grid_size = grid;
    simulator_block_size = block;
    tls_index index_of_shared = {shared.tls_module, 0};
    void *static_shared = shared.bytes ? __tls_get_addr(&index_of_shared) : nullptr;
    std::size_t count = std::size_t(grid.x) * grid.y * grid.z;
    for (std::size_t i = 0; i < count; i++) {
        std::size_t index = reversed ? count - 1 - i : i;
        simulator_block_index = {unsigned(index % grid.x), unsigned(index / grid.x % grid.y),
                                 unsigned(index / grid.x / grid.y)};
        // A block finds nothing of the one before.
        dynamic_shared.assign(shared_bytes, static_cast<char>(0xFF));
        if (static_shared) std::memset(static_shared, 0xFF, shared.bytes);
        multiprocessor.run_block(kernel, arguments, reversed);
    }
}

} // namespace simulator

using simulator::multiprocessor;

extern "C" {

void simulator_syncthreads() { multiprocessor.wait_at_barrier(); }

void simulator_exchange(unsigned mask, const void *given, void *received, unsigned bytes, unsigned source) {
    multiprocessor.meet(mask, given, bytes, source, received);
}

unsigned simulator_ballot(unsigned mask, bool vote) {
    bool ignored;
    return multiprocessor.meet(mask, &vote, 1, multiprocessor.lane(), &ignored);
}

unsigned simulator_lane() { return multiprocessor.lane(); }

void *simulator_dynamic_shared() { return simulator::dynamic_shared.data(); }

} // extern "C"
