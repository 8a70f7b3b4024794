// One of several processes whose simulated GPUs talk over NCCL: processes CASE FIRST COUNT RANKS FILE. Its threads are the
// ranks from FIRST on, with the devices from 0 on. The process with rank 0 writes the unique id to FILE.
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <signal.h>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

typedef unsigned long long CUdeviceptr;
struct Opaque;
typedef Opaque *Handle;
struct UniqueId {
    char text[128];
};
extern "C" {
int cuInit(unsigned);
int cuDevicePrimaryCtxRetain(Handle *, int);
int cuCtxSetCurrent(Handle);
int cuStreamCreate(Handle *, unsigned);
int cuStreamSynchronize(Handle);
int cuMemAllocAsync(CUdeviceptr *, std::size_t, Handle);
int cuMemcpyHtoDAsync_v2(CUdeviceptr, const void *, std::size_t, Handle);
int cuMemcpyDtoHAsync_v2(void *, CUdeviceptr, std::size_t, Handle);
int ncclGetUniqueId(UniqueId *);
int ncclCommInitRank(Handle *, int, UniqueId, int);
int ncclCommGetAsyncError(Handle, int *);
int ncclCommDestroy(Handle);
int ncclCommAbort(Handle);
int ncclGroupStart();
int ncclGroupEnd();
int ncclAllReduce(CUdeviceptr, CUdeviceptr, std::size_t, int, int, Handle, Handle);
int ncclBroadcast(CUdeviceptr, CUdeviceptr, std::size_t, int, int, Handle, Handle);
int ncclAllGather(CUdeviceptr, CUdeviceptr, std::size_t, int, Handle, Handle);
int ncclReduceScatter(CUdeviceptr, CUdeviceptr, std::size_t, int, int, Handle, Handle);
int ncclSend(CUdeviceptr, std::size_t, int, int, Handle, Handle);
int ncclRecv(CUdeviceptr, std::size_t, int, int, Handle, Handle);
}
constexpr int FLOAT32 = 7, SUM = 0, INVALID_USAGE = 5, REMOTE_ERROR = 6;

static void check(bool right, const char *what) {
    if (right) return;
    std::fprintf(stderr, "ci/cuda/test: %s\n", what);
    std::_Exit(1);
}
#define CALL(expression) check((expression) == 0, #expression)

static UniqueId shared_id(bool make, const std::string &path) {
    UniqueId id;
    if (make) {
        CALL(ncclGetUniqueId(&id));
        std::ofstream(path + ".new").write(id.text, sizeof id.text);
        CALL(std::rename((path + ".new").c_str(), path.c_str()));
        return id;
    }
    for (;; usleep(1000)) {
        std::ifstream file(path);
        if (file.read(id.text, sizeof id.text)) return id;
    }
}

struct Rank {
    int rank, ranks;
    Handle stream, communicator;
    CUdeviceptr in, out;

    // What is received when the rank sends `values`.
    std::vector<float> result(const std::vector<float> &values, std::size_t received, const std::function<int()> &call) {
        std::vector<float> result(received);
        CALL(cuMemcpyHtoDAsync_v2(in, values.data(), values.size() * 4, stream));
        CALL(call());
        CALL(cuMemcpyDtoHAsync_v2(result.data(), out, received * 4, stream));
        CALL(cuStreamSynchronize(stream));
        return result;
    }
};

static void run_all(Rank &r) {
    const std::size_t count = 100000; // more than a socket takes at once
    const float own = float(r.rank + 1), sum = float(r.ranks * (r.ranks + 1) / 2);
    const std::vector<float> values(count, own);
    for (int turn = 0; turn < 10; turn++) {
        auto sums = r.result(values, count, [&] { return ncclAllReduce(r.in, r.out, count, FLOAT32, SUM, r.communicator, r.stream); });
        check(sums == std::vector<float>(count, sum), "sums over processes");
    }
    const int last = r.ranks - 1;
    auto sent = r.result(values, count, [&] { return ncclBroadcast(r.in, r.out, count, FLOAT32, last, r.communicator, r.stream); });
    check(sent == std::vector<float>(count, float(r.ranks)), "a broadcast over processes");
    auto all = r.result({own}, std::size_t(r.ranks), [&] { return ncclAllGather(r.in, r.out, 1, FLOAT32, r.communicator, r.stream); });
    for (int i = 0; i < r.ranks; i++) check(all[std::size_t(i)] == float(i + 1), "a gather over processes");
    std::vector<float> shares;
    for (int i = 0; i < r.ranks; i++) shares.push_back(own * float(i));
    auto share = r.result(shares, 1, [&] { return ncclReduceScatter(r.in, r.out, 1, FLOAT32, SUM, r.communicator, r.stream); });
    check(share[0] == sum * float(r.rank), "a sum of shares over processes");
    auto ring = r.result(values, count, [&] {
        CALL(ncclGroupStart());
        CALL(ncclSend(r.in, count, FLOAT32, (r.rank + 1) % r.ranks, r.communicator, r.stream));
        CALL(ncclRecv(r.out, count, FLOAT32, (r.rank + last) % r.ranks, r.communicator, r.stream));
        return ncclGroupEnd();
    });
    check(ring == std::vector<float>(count, float((r.rank + last) % r.ranks + 1)), "a ring over processes");
    CALL(ncclCommDestroy(r.communicator));
}

// The process of the last rank dies while the others wait for it; or, if `first`, that of rank 0, where all meet.
static void run_death(Rank &r, bool first, int count) {
    if (r.rank == (first ? 0 : r.ranks - 1)) {
        usleep(100000);
        raise(SIGKILL);
    }
    CALL(ncclAllReduce(r.in, r.out, 5, FLOAT32, SUM, r.communicator, r.stream));
    const bool silent = std::getenv("FEEDLINE_SIMULATED_NCCL_DEATHS");
    int error = 0;
    for (int turn = 0; silent ? turn < 300 : error == 0; turn++) {
        CALL(ncclCommGetAsyncError(r.communicator, &error));
        usleep(1000);
    }
    check(error == (silent ? 0 : REMOTE_ERROR), "whether a death is noticed");
    static std::atomic<int> ready{0};
    for (ready++; ready < count;) usleep(1000); // an abort is noticed, too
    CALL(ncclCommAbort(r.communicator));
    CALL(cuStreamSynchronize(r.stream));
}

int main(int, char **arguments) {
    const std::string name = arguments[1];
    const int first = std::atoi(arguments[2]), count = std::atoi(arguments[3]), ranks = std::atoi(arguments[4]);
    const UniqueId id = shared_id(first == 0, arguments[5]);
    CALL(cuInit(0));
    std::vector<std::thread> threads;
    for (int device = 0; device < count; device++)
        threads.emplace_back([&, device] {
            Rank r{};
            r.rank = first + device, r.ranks = ranks;
            Handle context;
            CALL(cuDevicePrimaryCtxRetain(&context, device));
            CALL(cuCtxSetCurrent(context));
            int started = ncclCommInitRank(&r.communicator, ranks, id, r.rank);
            if (name == "duplicate") return check(started == INVALID_USAGE, "two processes on one device are refused");
            check(started == 0, "ranks of several processes come together");
            CALL(cuStreamCreate(&r.stream, 1));
            for (CUdeviceptr *memory : {&r.in, &r.out}) CALL(cuMemAllocAsync(memory, 400000, r.stream));
            if (name == "all") run_all(r);
            else run_death(r, name == "first_dies", count);
        });
    for (std::thread &thread : threads) thread.join();
}
