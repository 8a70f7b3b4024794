// The simulated NCCL's operations: what happens at the call, and in the stream.
#include "nccl.h"
#include <cstring>

namespace nccl {
namespace {

using Lock = std::unique_lock<std::mutex>;

struct Group {
    int depth = 0;
    std::vector<std::shared_ptr<Launch>> launches;
    std::vector<std::shared_ptr<Communicator>> starting;
};
thread_local Group group;

const char *name(Kind kind) {
    switch (kind) {
    case Kind::all_reduce: return "ncclAllReduce";
    case Kind::broadcast: return "ncclBroadcast";
    case Kind::reduce: return "ncclReduce";
    case Kind::all_gather: return "ncclAllGather";
    case Kind::reduce_scatter: return "ncclReduceScatter";
    case Kind::send: return "ncclSend";
    case Kind::receive: return "ncclRecv";
    }
    return "";
}

bool collective(const Operation &operation) { return operation.kind != Kind::send && operation.kind != Kind::receive; }

[[noreturn]] void mismatch(int rank, const Operation &mine, int other, const Operation &theirs) {
    simulator::fail("the ranks of a communicator disagree: rank %d's call %ld is %s, rank %d's call %ld is %s", rank,
                    mine.call, mine.text().c_str(), other, theirs.call, theirs.text().c_str());
}

// Waits for the rank that missing() names, or for something else if that is the rank itself, until it answers -1. False
// if the communicator was aborted meanwhile. Who waits for a rank that has aborted learns it as an asynchronous error.
template <typename Missing> bool wait(Lock &lock, Communicator &c, Missing missing) {
    for (;;) {
        int peer = missing();
        if (peer < 0) return true;
        if (c.aborted) return false;
        if (c.world->gone[std::size_t(peer)] && c.error == SUCCESS) {
            c.error = REMOTE_ERROR;
            c.world->changed.notify_all(); // see tell in nccl_remote.cpp
        }
        c.world->changed.wait(lock);
    }
}

bool wait_for_abort(Lock &lock, Communicator &c) {
    return wait(lock, c, [&] { return c.rank; });
}

// Something of what the rank waits for is complete.
void is_answered(World &world, int rank) {
    Communicator *member = world.members[std::size_t(rank)];
    if (member && member->proxy) member->answering = true;
}

bool meet(Lock &lock, Communicator &c, const Operation &operation) {
    World &world = *c.world;
    std::shared_ptr<Meeting> &found = world.meetings[c.meetings++];
    if (!found) found = std::make_shared<Meeting>();
    std::shared_ptr<Meeting> meeting = found;
    meeting->arrived.resize(std::size_t(world.ranks));
    for (int r = 0; r < world.ranks; r++) {
        const Operation *other = meeting->arrived[std::size_t(r)];
        if (other && !other->matches(operation)) mismatch(c.rank, operation, r, *other);
    }
    meeting->arrived[std::size_t(c.rank)] = &operation;
    if (++meeting->count == world.ranks) {
        meeting->computing = true;
        world.meetings.erase(c.meetings - 1);
        lock.unlock();
        compute(meeting->arrived);
        lock.lock();
        meeting->done = true;
        for (int r = 0; r < world.ranks; r++) is_answered(world, r);
        world.changed.notify_all();
        return true;
    }
    c.meeting = meeting, c.meeting_operation = &operation;
    world.changed.notify_all(); // see wait_for_peer
    bool complete = wait(lock, c, [&] {
        if (meeting->done) return -1;
        for (int r = 0; r < world.ranks; r++)
            if (!meeting->arrived[std::size_t(r)] && world.gone[std::size_t(r)]) return r;
        return c.rank; // somebody who is late
    });
    // Who computes reads and writes this rank's memory: even an abort waits for that.
    while (!complete && meeting->computing && !meeting->done) world.changed.wait(lock);
    complete = complete || meeting->done;
    if (!complete) meeting->arrived[std::size_t(c.rank)] = nullptr, meeting->count--;
    c.meeting = nullptr, c.meeting_operation = nullptr;
    return complete;
}

// Waits until done(), which the peer brings about. A peer that waits for this rank at a collective never will: all
// sends of a launch are posted before its collectives, and this rank's own collectives are complete.
template <typename Done> bool wait_for_peer(Lock &lock, Communicator &c, const Operation &operation, Done done) {
    return wait(lock, c, [&] {
        if (done()) return -1;
        const Communicator *peer = c.world->members[std::size_t(operation.root)];
        if (peer && peer->meeting && !peer->meeting->arrived[std::size_t(c.rank)])
            mismatch(c.rank, operation, operation.root, *peer->meeting_operation);
        return operation.root;
    });
}

bool receive(Lock &lock, Communicator &c, const Operation &operation) {
    auto &letters = c.world->letters[{operation.root, c.rank}];
    if (!wait_for_peer(lock, c, operation, [&] { return !letters.empty(); })) return false;
    std::shared_ptr<Letter> letter = letters.front();
    letters.pop_front();
    if (letter->operation->count != operation.count || letter->operation->type != operation.type)
        mismatch(c.rank, operation, operation.root, *letter->operation);
    std::memmove(operation.receive, letter->operation->send, operation.count * size_of(operation.type));
    letter->taken = true;
    is_answered(*c.world, c.rank);
    is_answered(*c.world, operation.root);
    c.world->changed.notify_all();
    return true;
}

// The steps of a launch in its stream.
bool progress(Lock &lock, Launch &launch) {
    Communicator &c = *launch.communicator;
    // Launches of one communicator run in the order of their calls, whatever their streams.
    if (!wait(lock, c, [&] { return c.finished == launch.number ? -1 : c.rank; })) return false;
    for (const Operation &operation : launch.operations) {
        if (!operation.lost) continue;
        if (operation.fault != SUCCESS) c.error = operation.fault;
        return wait_for_abort(lock, c);
    }
    if (c.elsewhere) return progress_elsewhere(lock, launch);
    std::vector<std::pair<const Operation *, std::shared_ptr<Letter>>> sent;
    for (const Operation &operation : launch.operations)
        if (operation.kind == Kind::send) {
            auto letter = std::make_shared<Letter>();
            letter->operation = &operation;
            c.world->letters[{c.rank, operation.root}].push_back(letter);
            sent.emplace_back(&operation, letter);
        }
    c.world->changed.notify_all();
    bool complete = true;
    for (bool collectives : {true, false})
        for (const Operation &operation : launch.operations) {
            if (operation.kind == Kind::send || collective(operation) != collectives || !complete) continue;
            complete = collectives ? meet(lock, c, operation) : receive(lock, c, operation);
        }
    for (auto &[operation, letter] : sent)
        complete = complete && wait_for_peer(lock, c, *operation, [&l = letter] { return l->taken; });
    if (!complete) // take back what was not received
        for (auto &[operation, letter] : sent) {
            auto &letters = c.world->letters[{c.rank, operation->root}];
            for (auto at = letters.begin(); at != letters.end(); ++at)
                if (*at == letter) {
                    letters.erase(at);
                    break;
                }
        }
    return complete;
}

Result start(const std::shared_ptr<Launch> &launch) {
    Communicator &c = *launch->communicator;
    bool connecting = false;
    {
        std::lock_guard<std::mutex> lock(c.world->mutex);
        launch->number = c.launches++;
        if (!c.blocking && launch->number == 0) connecting = c.connecting = true;
    }
    // The operations of a group wait for all its streams, and all its streams for them.
    CUstream first = launch->streams[0];
    for (CUstream stream : launch->streams)
        if (stream != first) simulator::wait_for(first, stream);
    simulator::enqueue(first, [launch] { run(*launch); });
    for (CUstream stream : launch->streams)
        if (stream != first) simulator::wait_for(stream, first);
    return connecting ? IN_PROGRESS : SUCCESS;
}

void check_memory(const Operation &o, const Communicator &c) {
    std::size_t sent = bytes_sent(o, c.world->ranks, c.rank), received = bytes_received(o, c.world->ranks, c.rank);
    simulator::check_device_memory(o.send, sent, c.device, (std::string(name(o.kind)) + "'s sendbuff").c_str());
    simulator::check_device_memory(o.receive, received, c.device, (std::string(name(o.kind)) + "'s recvbuff").c_str());
    if (sent == 0 || received == 0) return;
    auto from = static_cast<const char *>(o.send), to = static_cast<const char *>(o.receive);
    std::size_t share = o.count * size_of(o.type) * std::size_t(c.rank);
    bool in_place = o.kind == Kind::all_gather       ? from == to + share
                    : o.kind == Kind::reduce_scatter ? to == from + share
                                                     : from == to;
    if (!in_place && from < to + received && to < from + sent)
        simulator::fail("%s of rank %d: sendbuff and recvbuff overlap, but not as in place", o.text().c_str(), c.rank);
}

int issue(Operation operation, Communicator *handle, CUstream stream) {
    std::shared_ptr<Communicator> c = find(handle);
    if (!c) return INVALID_ARGUMENT;
    if (Result result = ready(*c)) return result;
    if (operation.type < 0 || operation.type >= TYPES || operation.reduction < 0 ||
        operation.reduction >= REDUCTIONS || operation.root < 0 || operation.root >= c->world->ranks)
        return INVALID_ARGUMENT;
    if (!stream && simulator::current_device() != c->device)
        simulator::fail("%s: the default stream of another device than the current one", name(operation.kind));
    stream = simulator::resolve(stream);
    if (simulator::device_of(stream) != c->device) return UNHANDLED_CUDA_ERROR; // invalid resource handle
    if (operation.count == 0) return SUCCESS;
    check_memory(operation, *c);
    {
        std::lock_guard<std::mutex> lock(c->world->mutex);
        operation.call = ++c->calls;
    }
    if (c->fault.rank == c->rank && c->fault.call == operation.call) {
        operation.lost = true;
        operation.fault = c->fault.error ? REMOTE_ERROR : SUCCESS;
    }
    std::shared_ptr<Launch> launch;
    for (auto &other : group.launches)
        if (other->communicator == c) launch = other;
    if (!launch) {
        launch = std::make_shared<Launch>();
        launch->communicator = c;
        if (in_group()) group.launches.push_back(launch);
    }
    launch->operations.push_back(operation);
    bool known = false;
    for (CUstream other : launch->streams) known = known || other == stream;
    if (!known) launch->streams.push_back(stream);
    return in_group() ? SUCCESS : start(launch);
}

} // namespace

std::string Operation::text() const {
    static const char *const types[] = {"int8",   "uint8",   "int32",   "uint32",  "int64",
                                        "uint64", "float16", "float32", "float64", "bfloat16"};
    static const char *const reductions[] = {"sum", "product", "maximum", "minimum", "average"};
    std::string text = std::string(name(kind)) + " of " + std::to_string(count) + " " + types[type];
    if (kind == Kind::all_reduce || kind == Kind::reduce || kind == Kind::reduce_scatter)
        text += std::string(" (") + reductions[reduction] + ")";
    if (kind == Kind::broadcast || kind == Kind::reduce) text += ", root " + std::to_string(root);
    if (kind == Kind::send) text += " to rank " + std::to_string(root);
    if (kind == Kind::receive) text += " from rank " + std::to_string(root);
    return text;
}

std::size_t bytes_sent(const Operation &o, int ranks, int rank) {
    if (o.kind == Kind::receive || (o.kind == Kind::broadcast && rank != o.root)) return 0;
    return o.count * size_of(o.type) * std::size_t(o.kind == Kind::reduce_scatter ? ranks : 1);
}

std::size_t bytes_received(const Operation &o, int ranks, int rank) {
    if (o.kind == Kind::send || (o.kind == Kind::reduce && rank != o.root)) return 0;
    return o.count * size_of(o.type) * std::size_t(o.kind == Kind::all_gather ? ranks : 1);
}

bool run(Launch &launch) {
    Communicator &c = *launch.communicator;
    Lock lock(c.world->mutex);
    bool complete = progress(lock, launch);
    if (!complete)
        for (const Operation &operation : launch.operations) // what an aborted operation leaves is undefined
            if (std::size_t bytes = bytes_received(operation, c.world->ranks, c.rank))
                std::memset(operation.receive, 0xff, bytes);
    c.finished++;
    c.world->changed.notify_all();
    return complete;
}

bool in_group() { return group.depth > 0; }
void add_to_group(std::shared_ptr<Communicator> starting) { group.starting.push_back(std::move(starting)); }

} // namespace nccl

using namespace nccl;

extern "C" {

int ncclGroupStart() {
    group.depth++;
    return SUCCESS;
}

int ncclGroupEnd() {
    if (group.depth == 0) return INVALID_USAGE;
    if (--group.depth > 0) return SUCCESS;
    Group ended;
    std::swap(ended, group);
    Result answer = SUCCESS;
    for (auto &communicator : ended.starting) {
        Result result = communicator->blocking ? wait_for_start(*communicator) : IN_PROGRESS;
        if (answer == SUCCESS || answer == IN_PROGRESS) answer = result == SUCCESS ? answer : result;
    }
    for (auto &launch : ended.launches)
        if (start(launch) == IN_PROGRESS && answer == SUCCESS) answer = IN_PROGRESS;
    return answer;
}

int ncclAllReduce(const void *send, void *receive, std::size_t count, int type, int reduction, Communicator *c,
                  CUstream stream) {
    return issue({Kind::all_reduce, send, receive, count, Type(type), Reduction(reduction), 0}, c, stream);
}

int ncclBroadcast(const void *send, void *receive, std::size_t count, int type, int root, Communicator *c,
                  CUstream stream) {
    return issue({Kind::broadcast, send, receive, count, Type(type), SUM, root}, c, stream);
}

int ncclBcast(void *buffer, std::size_t count, int type, int root, Communicator *c, CUstream stream) {
    return ncclBroadcast(buffer, buffer, count, type, root, c, stream);
}

int ncclReduce(const void *send, void *receive, std::size_t count, int type, int reduction, int root, Communicator *c,
               CUstream stream) {
    return issue({Kind::reduce, send, receive, count, Type(type), Reduction(reduction), root}, c, stream);
}

int ncclAllGather(const void *send, void *receive, std::size_t count, int type, Communicator *c, CUstream stream) {
    return issue({Kind::all_gather, send, receive, count, Type(type), SUM, 0}, c, stream);
}

int ncclReduceScatter(const void *send, void *receive, std::size_t count, int type, int reduction, Communicator *c,
                      CUstream stream) {
    return issue({Kind::reduce_scatter, send, receive, count, Type(type), Reduction(reduction), 0}, c, stream);
}

int ncclSend(const void *send, std::size_t count, int type, int peer, Communicator *c, CUstream stream) {
    return issue({Kind::send, send, nullptr, count, Type(type), SUM, peer}, c, stream);
}

int ncclRecv(void *receive, std::size_t count, int type, int peer, Communicator *c, CUstream stream) {
    return issue({Kind::receive, nullptr, receive, count, Type(type), SUM, peer}, c, stream);
}

} // extern "C"
