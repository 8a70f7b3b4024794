// What the simulated driver (driver.cpp, memory.cpp, streams.cpp: libcuda.so.1) offers to the other simulated libraries.
//
// A simulated device is a share of the host's memory and a thread per stream. A library's function checks its
// arguments when it is called and enqueues the computation, exactly as the real one does:
//
//     simulator::check_device_memory(output, bytes, simulator::device_of(stream), "cublasSgemm's C");
//     simulator::enqueue(stream, [=] { ... });
//
// There are no NVIDIA headers here: each library declares the few types and numbers that it needs.
#pragma once
#include <cstddef>
#include <functional>

struct CUstream_st;
typedef CUstream_st *CUstream;
struct CUevent_st;
typedef CUevent_st *CUevent;

namespace simulator {

// The number of simulated devices: FEEDLINE_SIMULATED_GPUS, 0 without it. A library's functions that make a handle
// answer an error when it is 0.
int device_count();

// The device whose context is current in this thread, or -1. A handle remembers it.
int current_device();

// Appends work to the stream's queue. Its thread runs the items one by one, in order. Work may block (a collective
// waits for its peers) and must not throw. Everything it needs must be captured by value: it runs later.
// A null stream is the default stream of the current device.
void enqueue(CUstream stream, std::function<void()> work);

// Waits until everything enqueued on the stream so far has run. Never from within work.
void synchronize(CUstream stream);

// The index of the stream's device (of the current device for a null stream).
int device_of(CUstream stream);

// A null stream made explicit, so that a handle can keep it: the default stream of the current device.
CUstream resolve(CUstream stream);

// Work enqueued on `stream` after this call waits for what is enqueued on `other` before it: an event recorded and
// waited for.
void wait_for(CUstream stream, CUstream other);

// Aborts with a message unless bytes [pointer, pointer + bytes) lie within one live allocation of that device. To be
// called when the library's function is called, not in the work: a pointer may be freed, in stream order, before its
// last use has run. Nothing is checked for bytes == 0.
void check_device_memory(const void *pointer, std::size_t bytes, int device, const char *what);

// The bytes from the pointer to the end of its live device allocation (of any device), 0 if it points into none.
std::size_t bytes_left(const void *pointer);

// Prints "simulated CUDA: message" on stderr and aborts: for what would be undefined on a real device. Errors that the
// real library answers with a status are answered with that status.
[[noreturn]] void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

} // namespace simulator
