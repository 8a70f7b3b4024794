// What the files of the simulated NCCL (libnccl.so.2) share. The ranks of a communicator meet in the process that made the
// unique id; one of another process sends its operations there, see nccl_remote.cpp. An operation is an item of work in
// its stream: it waits there until every rank's stream has come to the same operation.
#pragma once
#include "nccl_wire.h"
#include "simulator.h"
#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace nccl {

// Values of nccl.h, version 2.30.
enum Result : int {
    SUCCESS = 0, UNHANDLED_CUDA_ERROR = 1, SYSTEM_ERROR = 2, INTERNAL_ERROR = 3, INVALID_ARGUMENT = 4,
    INVALID_USAGE = 5, REMOTE_ERROR = 6, IN_PROGRESS = 7
};
enum Type : int {
    INT8 = 0, UINT8 = 1, INT32 = 2, UINT32 = 3, INT64 = 4, UINT64 = 5, FLOAT16 = 6, FLOAT32 = 7, FLOAT64 = 8,
    BFLOAT16 = 9, TYPES = 10
};
enum Reduction : int { SUM = 0, PROD = 1, MAX = 2, MIN = 3, AVG = 4, REDUCTIONS = 5 };

enum class Kind { all_reduce, broadcast, reduce, all_gather, reduce_scatter, send, receive };

// One call of a rank. A reduction or root that has no meaning is 0.
struct Operation {
    Kind kind;
    const void *send;
    void *receive;
    std::size_t count; // what the caller gave: per rank for all_gather and reduce_scatter
    Type type;
    Reduction reduction;
    int root; // or the peer of send and receive
    long call = 0; // its number among the rank's calls, from 1
    bool lost = false; // by an injected fault: it never arrives
    Result fault = SUCCESS; // and sets this error

    std::string text() const;
    bool matches(const Operation &other) const {
        return kind == other.kind && count == other.count && type == other.type && reduction == other.reduction &&
               root == other.root;
    }
};

std::size_t size_of(Type type);

// Runs a collective operation of all ranks at once; operations[r] is rank r's.
void compute(const std::vector<const Operation *> &operations);

// The ranks at one collective operation. The last to arrive computes for all.
struct Meeting {
    std::vector<const Operation *> arrived;
    int count = 0;
    bool computing = false, done = false;
};

// The bytes that a rank's operation reads and writes.
std::size_t bytes_sent(const Operation &operation, int ranks, int rank);
std::size_t bytes_received(const Operation &operation, int ranks, int rank);

struct Communicator;

// The operations of one communicator that were called between GroupStart and GroupEnd, or one that was called alone.
// They are one item of work: they progress together.
struct Launch {
    std::shared_ptr<Communicator> communicator;
    std::vector<CUstream> streams; // without repetitions
    std::vector<Operation> operations;
    long number = 0;
};

// Runs a launch, after those before it; false when an abort ended it.
bool run(Launch &launch);

// A send that waits for its receive.
struct Letter {
    const Operation *operation;
    bool taken = false;
};

// What the ranks of one unique id share. A rank of another process has one by itself there. Everything in it, and what is marked so in Communicator, is guarded by the
// mutex; `changed` is notified after every change.
struct World {
    std::mutex mutex;
    std::condition_variable changed;
    int ranks;
    int joined = 0;
    Result state = IN_PROGRESS; // of the initialisation
    std::vector<Communicator *> members;
    std::vector<bool> gone; // aborted
    std::map<long, std::shared_ptr<Meeting>> meetings; // by number of the collective operation
    std::map<std::pair<int, int>, std::deque<std::shared_ptr<Letter>>> letters; // by sender and receiver
    explicit World(int ranks) : ranks(ranks), members(std::size_t(ranks)), gone(std::size_t(ranks)) {}
};

// FEEDLINE_SIMULATED_NCCL_FAULT: "rank=1,call=7,error": rank 1's 7th operation of a communicator never arrives, and
// sets that communicator's asynchronous error; "rank=1,call=7,hang": it never arrives, and nobody is told.
struct Fault {
    int rank = -1;
    long call = 0;
    bool error = false;
};

// A rank's connection to the process where all meet. Guarded as Communicator's fields.
struct Elsewhere {
    std::shared_ptr<Wire> wire;
    bool lost = false;
    bool answered = false; // the launch that is under way
    std::string answer;
};

struct Communicator {
    std::shared_ptr<World> world;
    int rank, device = -1;
    std::string place; // the machine and the device
    bool blocking = true;
    bool proxy = false; // stands for a rank of another process
    std::unique_ptr<Elsewhere> elsewhere; // of a rank whose process did not make the unique id
    Fault fault;
    // Guarded by the world's mutex:
    Result error = SUCCESS;
    bool aborted = false, finalized = false;
    bool connecting = false; // a non-blocking communicator's first launch: in progress until asked once
    long calls = 0;
    long launches = 0, finished = 0; // groups of operations, a lone one being a group
    long meetings = 0;
    std::shared_ptr<Meeting> meeting; // where it waits
    const Operation *meeting_operation = nullptr;
    // Of a proxy: what its rank knows of the state, and whether there is something in a launch to tell it.
    Result told = IN_PROGRESS;
    bool answering = false;
};

// Calls between GroupStart and GroupEnd are collected per thread.
bool in_group();
void add_to_group(std::shared_ptr<Communicator> starting);

// The live communicator of a handle, or null.
std::shared_ptr<Communicator> find(Communicator *handle);
// Waits until all ranks have come, and says how it went.
Result wait_for_start(Communicator &communicator);
// Takes the communicator's place in the world of a unique id, which begins with the first to come.
void sit_down(const std::shared_ptr<Communicator> &communicator, int ranks, const std::string &id);
// Ends a communicator, and the others' wait for it unless nobody is to be told.
void abort(Communicator &communicator, bool tell);
// The communicator is no more.
void forget(const std::shared_ptr<Communicator> &communicator);

// Of nccl_remote.cpp. Takes a place in a world of another process; false if that is gone.
bool sit_down_elsewhere(const std::shared_ptr<Communicator> &communicator, int ranks, const std::string &id,
                        const std::string &address);
// Runs a launch of a rank whose world is in another process.
bool progress_elsewhere(std::unique_lock<std::mutex> &lock, Launch &launch);
// Serves a rank of another process, as long as it is connected.
void serve(std::shared_ptr<Wire> wire);
// Whether what ranks of other processes wait for has been sent to them.
bool is_delivered(const World &world);
// Whether somebody is told when a process dies.
bool deaths_are_noticed();

// SUCCESS, or why the communicator can't take a call now.
Result ready(Communicator &communicator);

} // namespace nccl
