// Streams and events. A stream is a queue and the thread that works it off. Streams of the default kind do not wait for
// the null stream, as they would on a real device: only what is promised to streams made with CU_STREAM_NON_BLOCKING is
// simulated.
#include "internal.h"
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <map>
#include <random>
#include <thread>
#include <unistd.h>
#include <unordered_set>
#include <vector>

struct CUstream_st {
    int device;
    unsigned flags;
    int priority;
    std::mutex mutex;
    std::condition_variable filled;
    std::deque<std::function<void()>> queue;
};

struct CUevent_st {
    int device;
    unsigned flags;
    std::mutex mutex;
    std::shared_ptr<simulator::Completion> latest; // of the last record
};

namespace simulator {
namespace {

// Never destroyed: stream threads may outlive the program's statics.
struct Registry {
    std::mutex mutex;
    std::unordered_set<CUstream> streams;
    std::map<int, CUstream> defaults;
    std::unordered_set<CUevent> events;
};
Registry &registry() {
    static Registry *it = new Registry;
    return *it;
}

thread_local bool is_stream_thread = false;

void work_off(CUstream stream) {
    is_stream_thread = true;
    for (;;) {
        std::function<void()> work;
        {
            std::unique_lock<std::mutex> lock(stream->mutex);
            stream->filled.wait(lock, [&] { return !stream->queue.empty(); });
            work = std::move(stream->queue.front());
            stream->queue.pop_front();
        }
        if (!work) { // the stream was destroyed
            delete stream;
            return;
        }
        if (delays() && random_below(3) == 0) usleep(random_below(500));
        work();
    }
}

CUstream make_stream(int device, unsigned flags, int priority) {
    CUstream stream = new CUstream_st;
    stream->device = device;
    stream->flags = flags;
    stream->priority = priority;
    std::thread(work_off, stream).detach();
    std::lock_guard<std::mutex> lock(registry().mutex);
    registry().streams.insert(stream);
    return stream;
}

void push(CUstream stream, std::function<void()> work) {
    {
        std::lock_guard<std::mutex> lock(stream->mutex);
        stream->queue.push_back(std::move(work));
    }
    stream->filled.notify_one();
}

CUstream per_thread_stream(int device) {
    thread_local std::map<int, CUstream> streams;
    CUstream &stream = streams[device];
    if (!stream) stream = make_stream(device, 1, 0);
    return stream;
}

// A null pointer if the event doesn't exist.
CUevent known(CUevent event) {
    std::lock_guard<std::mutex> lock(registry().mutex);
    return registry().events.count(event) ? event : nullptr;
}

} // namespace

void fail(const char *format, ...) {
    std::fputs("simulated CUDA: ", stderr);
    va_list arguments;
    va_start(arguments, format);
    std::vfprintf(stderr, format, arguments);
    va_end(arguments);
    std::fputs("\n", stderr);
    std::abort();
}

bool variable_is_set(const char *name) {
    const char *value = std::getenv(name);
    return value && *value && *value != '0';
}

bool delays() {
    static const bool on = variable_is_set("FEEDLINE_SIMULATOR_DELAY");
    return on;
}

unsigned random_below(unsigned bound) {
    thread_local std::minstd_rand generator(std::random_device{}());
    return generator() % bound;
}

void Completion::complete() {
    {
        std::lock_guard<std::mutex> lock(mutex);
        time = std::chrono::steady_clock::now();
        is_done = true;
    }
    changed.notify_all();
}
void Completion::wait() {
    std::unique_lock<std::mutex> lock(mutex);
    changed.wait(lock, [&] { return is_done; });
}
bool Completion::done() {
    std::lock_guard<std::mutex> lock(mutex);
    return is_done;
}

CUstream default_stream(int device) {
    {
        std::lock_guard<std::mutex> lock(registry().mutex);
        auto found = registry().defaults.find(device);
        if (found != registry().defaults.end()) return found->second;
    }
    CUstream stream = make_stream(device, 0, 0);
    std::lock_guard<std::mutex> lock(registry().mutex);
    return registry().defaults.emplace(device, stream).first->second;
}

CUstream resolve(CUstream stream) {
    auto number = reinterpret_cast<std::size_t>(stream);
    if (number <= 2) { // null or CU_STREAM_LEGACY; CU_STREAM_PER_THREAD
        if (current_device() < 0) fail("the default stream is used in a thread without a current context");
        return number == 2 ? per_thread_stream(current_device()) : default_stream(current_device());
    }
    std::lock_guard<std::mutex> lock(registry().mutex);
    if (!registry().streams.count(stream)) fail("stream %p does not exist, or no longer", (void *)stream);
    return stream;
}

int device_of(CUstream stream) { return resolve(stream)->device; }

void enqueue(CUstream stream, std::function<void()> work) { push(resolve(stream), std::move(work)); }

std::shared_ptr<Completion> mark(CUstream stream) {
    auto point = std::make_shared<Completion>();
    enqueue(stream, [point] { point->complete(); });
    return point;
}

void synchronize(CUstream stream) {
    if (is_stream_thread) fail("work of a stream waits for a stream: a host function must not call CUDA");
    mark(stream)->wait();
}

void synchronize_device(int device) {
    std::vector<std::shared_ptr<Completion>> points;
    {
        std::lock_guard<std::mutex> lock(registry().mutex);
        for (CUstream stream : registry().streams) {
            if (stream->device != device) continue;
            auto point = std::make_shared<Completion>();
            push(stream, [point] { point->complete(); });
            points.push_back(point);
        }
    }
    for (auto &point : points) point->wait();
}

void wait_for(CUstream stream, CUstream other) {
    auto point = mark(other);
    enqueue(stream, [point] { point->wait(); });
}

} // namespace simulator

using namespace simulator;

// Waiting for a stream or a null stream needs a context, as all that follows.
#define NEED_CONTEXT                                                                                                   \
    if (current_device() < 0) return CUDA_ERROR_INVALID_CONTEXT

extern "C" {

CUresult cuStreamCreateWithPriority(CUstream *stream, unsigned flags, int priority) {
    NEED_CONTEXT;
    *stream = make_stream(current_device(), flags, priority);
    return CUDA_SUCCESS;
}
CUresult cuStreamCreate(CUstream *stream, unsigned flags) { return cuStreamCreateWithPriority(stream, flags, 0); }
CUresult cuStreamDestroy_v2(CUstream stream) {
    {
        std::lock_guard<std::mutex> lock(registry().mutex);
        if (!registry().streams.erase(stream)) return CUDA_ERROR_INVALID_HANDLE;
    }
    push(stream, nullptr); // what is in the queue still runs
    return CUDA_SUCCESS;
}
CUresult cuStreamSynchronize(CUstream stream) {
    NEED_CONTEXT;
    synchronize(stream);
    return CUDA_SUCCESS;
}
CUresult cuStreamQuery(CUstream stream) {
    NEED_CONTEXT;
    return mark(stream)->done() ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}
CUresult cuStreamGetPriority(CUstream stream, int *priority) {
    NEED_CONTEXT;
    *priority = resolve(stream)->priority;
    return CUDA_SUCCESS;
}
CUresult cuStreamGetFlags(CUstream stream, unsigned *flags) {
    NEED_CONTEXT;
    *flags = resolve(stream)->flags;
    return CUDA_SUCCESS;
}
CUresult cuCtxGetStreamPriorityRange(int *least, int *greatest) {
    if (least) *least = 0;
    if (greatest) *greatest = -5;
    return CUDA_SUCCESS;
}
CUresult cuStreamIsCapturing(CUstream, int *status) {
    *status = 0; // graphs are not simulated
    return CUDA_SUCCESS;
}
CUresult cuLaunchHostFunc(CUstream stream, void (*function)(void *), void *data) {
    NEED_CONTEXT;
    enqueue(stream, [=] { function(data); });
    return CUDA_SUCCESS;
}
CUresult cuCtxSynchronize() {
    NEED_CONTEXT;
    synchronize_device(current_device());
    return CUDA_SUCCESS;
}

CUresult cuEventCreate(CUevent *event, unsigned flags) {
    NEED_CONTEXT;
    *event = new CUevent_st;
    (*event)->device = current_device();
    (*event)->flags = flags;
    std::lock_guard<std::mutex> lock(registry().mutex);
    registry().events.insert(*event);
    return CUDA_SUCCESS;
}
CUresult cuEventDestroy_v2(CUevent event) {
    std::lock_guard<std::mutex> lock(registry().mutex);
    if (!registry().events.erase(event)) return CUDA_ERROR_INVALID_HANDLE;
    delete event; // points in the queues are shared, so that none is lost
    return CUDA_SUCCESS;
}
CUresult cuEventRecord(CUevent event, CUstream stream) {
    NEED_CONTEXT;
    if (!known(event) || event->device != device_of(stream)) return CUDA_ERROR_INVALID_HANDLE;
    auto point = std::make_shared<Completion>();
    std::lock_guard<std::mutex> lock(event->mutex);
    event->latest = point;
    enqueue(stream, [point] { point->complete(); });
    return CUDA_SUCCESS;
}
CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned) {
    NEED_CONTEXT;
    if (!known(event)) return CUDA_ERROR_INVALID_HANDLE;
    std::lock_guard<std::mutex> lock(event->mutex);
    if (auto point = event->latest) enqueue(stream, [point] { point->wait(); });
    return CUDA_SUCCESS;
}
CUresult cuEventQuery(CUevent event) {
    if (!known(event)) return CUDA_ERROR_INVALID_HANDLE;
    std::lock_guard<std::mutex> lock(event->mutex);
    return !event->latest || event->latest->done() ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}
CUresult cuEventSynchronize(CUevent event) {
    if (!known(event)) return CUDA_ERROR_INVALID_HANDLE;
    std::shared_ptr<Completion> point;
    {
        std::lock_guard<std::mutex> lock(event->mutex);
        point = event->latest;
    }
    if (point) point->wait();
    return CUDA_SUCCESS;
}
CUresult cuEventElapsedTime_v2(float *milliseconds, CUevent start, CUevent end) {
    const unsigned disable_timing = 2;
    std::shared_ptr<Completion> points[2];
    CUevent events[2] = {start, end};
    for (int i = 0; i < 2; i++) {
        if (!known(events[i]) || events[i]->flags & disable_timing) return CUDA_ERROR_INVALID_HANDLE;
        std::lock_guard<std::mutex> lock(events[i]->mutex);
        points[i] = events[i]->latest;
        if (!points[i]) return CUDA_ERROR_INVALID_HANDLE;
    }
    if (!points[0]->done() || !points[1]->done()) return CUDA_ERROR_NOT_READY;
    *milliseconds = std::chrono::duration<float, std::milli>(points[1]->time - points[0]->time).count();
    return CUDA_SUCCESS;
}
CUresult cuEventElapsedTime(float *milliseconds, CUevent start, CUevent end) {
    return cuEventElapsedTime_v2(milliseconds, start, end);
}

} // extern "C"
