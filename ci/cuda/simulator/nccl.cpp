// The simulated NCCL (libnccl.so.2): identifiers, communicators and their errors. Operations are in
// nccl_operations.cpp.
#include "nccl.h"
#include <algorithm>
#include <atomic>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>

using namespace nccl;

extern "C" int cuDeviceGetPCIBusId(char *text, int length, int device);

namespace {

struct UniqueId {
    char text[128];
};

// The fields of ncclConfig_t that matter here.
struct Config {
    std::size_t size;
    unsigned magic, version;
    int blocking;
};
constexpr unsigned CONFIG_MAGIC = 0xcafebeef;

// Never destroyed: threads of streams may outlive the program's end.
struct Registry {
    std::mutex mutex;
    std::map<std::string, std::shared_ptr<World>> starting; // by unique id, until all ranks have come
    std::map<Communicator *, std::shared_ptr<Communicator>> live;
};
Registry &registry() {
    static Registry &one = *new Registry;
    return one;
}

thread_local std::string last_error;

Result explain(Result result, const std::string &text) {
    last_error = text;
    if (std::getenv("NCCL_DEBUG")) std::fprintf(stderr, "simulated NCCL: %s\n", text.c_str());
    return result;
}

// An identifier is this, the address of the process that made it, and a number.
const std::string ID_PREFIX = "simulated NCCL ";

// The machine, or what the variable says in its place, and the device.
std::string place_of(int device) {
    const char *host = std::getenv("NCCL_HOSTID");
    char bus[16];
    cuDeviceGetPCIBusId(bus, sizeof bus, device);
    return std::string(host ? host : "") + " " + bus;
}

Fault read_fault() {
    Fault fault;
    const char *text = std::getenv("FEEDLINE_SIMULATED_NCCL_FAULT");
    if (!text || !*text) return fault;
    char what[8] = "";
    if (std::sscanf(text, "rank=%d,call=%ld,%7s", &fault.rank, &fault.call, what) != 3 ||
        (std::strcmp(what, "error") != 0 && std::strcmp(what, "hang") != 0))
        simulator::fail("FEEDLINE_SIMULATED_NCCL_FAULT=%s: expected rank=R,call=N,error or rank=R,call=N,hang", text);
    fault.error = what[0] == 'e';
    return fault;
}

// Two ranks on one device: an error of stock NCCL.
bool share_a_device(const World &world, std::string &text) {
    const char *allowed = std::getenv("NCCL_MULTI_RANK_GPU_ENABLE");
    if (allowed && std::strcmp(allowed, "1") == 0) return false;
    for (int a = 0; a < world.ranks; a++)
        for (int b = a + 1; b < world.ranks; b++)
            if (world.members[std::size_t(a)]->place == world.members[std::size_t(b)]->place) {
                text = "Duplicate GPU detected: rank " + std::to_string(a) + " and rank " + std::to_string(b) +
                       " both on device" + world.members[std::size_t(a)]->place;
                return true;
            }
    return false;
}

// Makes the communicator of one rank known, without waiting for the others.
Result join(Communicator **handle, int ranks, const UniqueId &id, int rank, int device, bool blocking) {
    if (!handle) return INVALID_ARGUMENT;
    *handle = nullptr;
    if (simulator::device_count() == 0) return explain(UNHANDLED_CUDA_ERROR, "no CUDA-capable device is detected");
    if (ranks < 1 || rank < 0 || rank >= ranks)
        return explain(INVALID_ARGUMENT, "Invalid rank requested: " + std::to_string(rank) + "/" +
                                             std::to_string(ranks));
    std::string key(id.text, strnlen(id.text, sizeof id.text));
    std::size_t end = key.rfind(' ');
    if (key.compare(0, ID_PREFIX.size(), ID_PREFIX) != 0 || end < ID_PREFIX.size())
        return explain(INTERNAL_ERROR, "the unique id was not made by ncclGetUniqueId");
    std::string address = key.substr(ID_PREFIX.size(), end - ID_PREFIX.size());
    auto communicator = std::make_shared<Communicator>();
    communicator->rank = rank, communicator->device = device, communicator->blocking = blocking;
    communicator->place = place_of(device), communicator->fault = read_fault();
    if (address == own_address())
        sit_down(communicator, ranks, key);
    else if (!sit_down_elsewhere(communicator, ranks, key, address))
        return explain(REMOTE_ERROR, "the process that made the unique id is gone");
    std::lock_guard<std::mutex> registered(registry().mutex);
    registry().live[communicator.get()] = communicator;
    *handle = communicator.get();
    return SUCCESS;
}

// As forget, and ends the connection to another process.
void leave(const std::shared_ptr<Communicator> &communicator) {
    if (communicator->elsewhere) communicator->elsewhere->wire->end();
    forget(communicator);
}

Result start(Communicator **handle, int ranks, const UniqueId &id, int rank, bool blocking) {
    if (Result result = join(handle, ranks, id, rank, std::max(0, simulator::current_device()), blocking))
        return result;
    std::shared_ptr<Communicator> communicator = find(*handle);
    if (in_group()) {
        add_to_group(communicator);
        return SUCCESS;
    }
    if (!blocking) return IN_PROGRESS;
    Result result = wait_for_start(*communicator);
    if (result != SUCCESS) {
        leave(communicator);
        *handle = nullptr;
    }
    return result;
}

// Whether the rank's operations are complete; also for ranks of other processes, as this one may end now.
bool is_drained(const Communicator &c) { return c.finished == c.launches && is_delivered(*c.world); }

void drain(Communicator &c) {
    std::unique_lock<std::mutex> lock(c.world->mutex);
    c.world->changed.wait(lock, [&] { return is_drained(c) || c.aborted; });
}

} // namespace

namespace nccl {

std::shared_ptr<Communicator> find(Communicator *handle) {
    std::lock_guard<std::mutex> registered(registry().mutex);
    auto found = registry().live.find(handle);
    return found == registry().live.end() ? nullptr : found->second;
}

void sit_down(const std::shared_ptr<Communicator> &communicator, int ranks, const std::string &id) {
    std::lock_guard<std::mutex> registered(registry().mutex);
    std::shared_ptr<World> &found = registry().starting[id];
    if (!found) found = std::make_shared<World>(ranks);
    std::shared_ptr<World> world = found;
    std::lock_guard<std::mutex> lock(world->mutex);
    std::size_t rank = std::size_t(communicator->rank);
    if (world->ranks != ranks)
        simulator::fail("ncclCommInitRank: rank %zu says %d ranks, another rank says %d", rank, ranks, world->ranks);
    if (world->members[rank]) simulator::fail("ncclCommInitRank: two ranks %zu of one unique id", rank);
    communicator->world = world;
    world->members[rank] = communicator.get();
    if (++world->joined == ranks) {
        std::string text;
        if (world->state == IN_PROGRESS)
            world->state = share_a_device(*world, text) ? explain(INVALID_USAGE, text) : SUCCESS;
        registry().starting.erase(id);
    }
    world->changed.notify_all();
}

void abort(Communicator &c, bool tell) {
    std::lock_guard<std::mutex> lock(c.world->mutex);
    c.aborted = true;
    if (tell) {
        c.world->gone[std::size_t(c.rank)] = true;
        if (c.world->state == IN_PROGRESS) c.world->state = REMOTE_ERROR; // the others wait in vain
    }
    c.world->changed.notify_all();
}

void forget(const std::shared_ptr<Communicator> &communicator) {
    std::lock_guard<std::mutex> registered(registry().mutex);
    {
        std::lock_guard<std::mutex> lock(communicator->world->mutex);
        communicator->world->members[std::size_t(communicator->rank)] = nullptr;
        communicator->world->changed.notify_all(); // see is_delivered
    }
    registry().live.erase(communicator.get());
}

Result wait_for_start(Communicator &c) {
    std::unique_lock<std::mutex> lock(c.world->mutex);
    c.world->changed.wait(lock, [&] { return c.world->state != IN_PROGRESS; });
    if (c.world->state != SUCCESS) // this process may end now, so the others are told first
        c.world->changed.wait(lock, [&] { return is_delivered(*c.world); });
    return c.world->state;
}

Result ready(Communicator &c) {
    std::lock_guard<std::mutex> lock(c.world->mutex);
    if (c.error != SUCCESS) return c.error;
    if (c.world->state == IN_PROGRESS ? !c.blocking : c.connecting)
        return explain(INVALID_ARGUMENT,
                       "Attempt to use communicator before the previous operation returned ncclSuccess");
    if (c.world->state != SUCCESS && c.world->state != IN_PROGRESS) return c.world->state;
    if (c.finalized) return explain(INVALID_USAGE, "the communicator was finalized");
    return SUCCESS;
}

} // namespace nccl

extern "C" {

int ncclGetVersion(int *version) {
    if (!version) return INVALID_ARGUMENT;
    *version = 23007;
    return SUCCESS;
}

int ncclGetUniqueId(UniqueId *id) {
    static std::atomic<unsigned> count{0};
    if (!id) return INVALID_ARGUMENT;
    std::memset(id, 0, sizeof *id);
    std::snprintf(id->text, sizeof id->text, "%s%s %u", ID_PREFIX.c_str(), own_address().c_str(),
                  count.fetch_add(1));
    return SUCCESS;
}

int ncclCommInitRank(Communicator **c, int ranks, UniqueId id, int rank) { return start(c, ranks, id, rank, true); }

int ncclCommInitRankConfig(Communicator **c, int ranks, UniqueId id, int rank, const Config *config) {
    bool blocking = true;
    if (config) {
        if (config->magic != CONFIG_MAGIC || config->size < sizeof(Config))
            return explain(INVALID_ARGUMENT, "ncclConfig_t must be initialized with NCCL_CONFIG_INITIALIZER");
        if (config->blocking != INT_MIN && config->blocking != 0 && config->blocking != 1)
            return explain(INVALID_ARGUMENT, "ncclConfig_t: blocking must be 0 or 1");
        blocking = config->blocking != 0;
    }
    return start(c, ranks, id, rank, blocking);
}

int ncclCommInitAll(Communicator **handles, int count, const int *devices) {
    if (!handles || count < 1) return INVALID_ARGUMENT;
    UniqueId id;
    ncclGetUniqueId(&id);
    for (int i = 0; i < count; i++) {
        int device = devices ? devices[i] : i;
        if (device < 0 || device >= simulator::device_count()) return UNHANDLED_CUDA_ERROR;
        if (Result result = join(&handles[i], count, id, i, device, true)) return result;
    }
    Result result = wait_for_start(*handles[0]);
    for (int i = 0; i < count && result != SUCCESS; i++) {
        leave(find(handles[i]));
        handles[i] = nullptr;
    }
    return result;
}

int ncclCommCount(Communicator *handle, int *count) {
    auto c = find(handle);
    if (!c || !count) return INVALID_ARGUMENT;
    if (Result result = ready(*c)) return result;
    *count = c->world->ranks;
    return SUCCESS;
}

int ncclCommUserRank(Communicator *handle, int *rank) {
    auto c = find(handle);
    if (!c || !rank) return INVALID_ARGUMENT;
    if (Result result = ready(*c)) return result;
    *rank = c->rank;
    return SUCCESS;
}

int ncclCommCuDevice(Communicator *handle, int *device) {
    auto c = find(handle);
    if (!c || !device) return INVALID_ARGUMENT;
    if (Result result = ready(*c)) return result;
    *device = c->device;
    return SUCCESS;
}

int ncclCommGetAsyncError(Communicator *handle, int *error) {
    auto c = find(handle);
    if (!c || !error) return INVALID_ARGUMENT;
    std::lock_guard<std::mutex> lock(c->world->mutex);
    *error = c->error != SUCCESS ? c->error : c->world->state;
    if (*error != SUCCESS) return SUCCESS;
    if (c->connecting || (c->finalized && !is_drained(*c))) *error = IN_PROGRESS;
    c->connecting = false;
    return SUCCESS;
}

int ncclCommFinalize(Communicator *handle) {
    auto c = find(handle);
    if (!c) return INVALID_ARGUMENT;
    if (Result result = ready(*c)) return result;
    {
        std::lock_guard<std::mutex> lock(c->world->mutex);
        c->finalized = true;
    }
    if (!c->blocking) return IN_PROGRESS;
    drain(*c);
    return SUCCESS;
}

int ncclCommDestroy(Communicator *handle) {
    if (!handle) return SUCCESS;
    auto c = find(handle);
    if (!c) return explain(INVALID_ARGUMENT, "the communicator was destroyed before");
    drain(*c);
    if (c->elsewhere) c->elsewhere->wire->send(Message::goodbye, "");
    leave(c);
    return SUCCESS;
}

int ncclCommAbort(Communicator *handle) {
    if (!handle) return SUCCESS;
    auto c = find(handle);
    if (!c) return explain(INVALID_ARGUMENT, "the communicator was destroyed before");
    abort(*c, true);
    leave(c);
    return SUCCESS;
}

const char *ncclGetErrorString(int result) {
    switch (result) {
    case SUCCESS: return "no error";
    case UNHANDLED_CUDA_ERROR: return "unhandled cuda error (run with NCCL_DEBUG=INFO for details)";
    case SYSTEM_ERROR: return "unhandled system error (run with NCCL_DEBUG=INFO for details)";
    case INTERNAL_ERROR: return "internal error - please report this issue to the NCCL developers";
    case INVALID_ARGUMENT: return "invalid argument (run with NCCL_DEBUG=WARN for details)";
    case INVALID_USAGE: return "invalid usage (run with NCCL_DEBUG=WARN for details)";
    case REMOTE_ERROR: return "remote process exited or there was a network error";
    case IN_PROGRESS: return "NCCL operation in progress";
    default: return "unknown result code";
    }
}

const char *ncclGetLastError(Communicator *) { return last_error.c_str(); }

} // extern "C"
