// The simulated NCCL's ranks of other processes. Where the unique id was made, a proxy takes part for each of them in what
// the ranks there do. It gets the operations with the values that they send, and answers with what they receive: slow,
// but one place where ranks meet is enough.
#include "nccl.h"
#include <cstdlib>
#include <cstring>
#include <thread>
#include <type_traits>

namespace nccl {
namespace {

using Lock = std::unique_lock<std::mutex>;

struct Join {
    int ranks, rank;
    char id[128], place[128];
};

// What goes ahead of the bytes that an operation sends.
struct Header {
    Kind kind;
    std::size_t count;
    Type type;
    Reduction reduction;
    int root;
    long call;
};

template <typename T> std::string bytes_of(const T &value) {
    static_assert(std::is_trivially_copyable<T>::value);
    return std::string(reinterpret_cast<const char *>(&value), sizeof value);
}

// Takes the bytes at `at`, and goes behind them.
void take(const std::string &from, std::size_t &at, void *to, std::size_t length) {
    if (length > from.size() - at) simulator::fail("a message of the simulated NCCL is too short");
    if (length) std::memcpy(to, from.data() + at, length);
    at += length;
}

// Tells a rank of another process its communicator's state, as it changes.
void tell(std::shared_ptr<Communicator> c, std::shared_ptr<Wire> wire) {
    Lock lock(c->world->mutex);
    while (!c->aborted) {
        Result now = c->error != SUCCESS ? c->error : c->world->state;
        if (now == c->told) {
            c->world->changed.wait(lock);
            continue;
        }
        lock.unlock();
        wire->send(Message::state, bytes_of(now)); // if it is gone, serve notices
        lock.lock();
        c->told = now;
        c->world->changed.notify_all();
    }
}

// A launch of a rank of another process, and what it sends and receives.
struct Visit {
    Launch launch;
    std::deque<std::string> memory; // its elements stay where they are
};

std::shared_ptr<Visit> unpack(const std::shared_ptr<Communicator> &c, const std::string &content) {
    auto visit = std::make_shared<Visit>();
    visit->launch.communicator = c;
    for (std::size_t at = 0; at < content.size();) {
        Header header;
        take(content, at, &header, sizeof header);
        Operation operation{header.kind, nullptr, nullptr, header.count, header.type, header.reduction, header.root};
        operation.call = header.call;
        std::string &sent = visit->memory.emplace_back(bytes_sent(operation, c->world->ranks, c->rank), '\0');
        std::string &received = visit->memory.emplace_back(bytes_received(operation, c->world->ranks, c->rank), '\0');
        take(content, at, &sent[0], sent.size());
        operation.send = sent.data(), operation.receive = &received[0];
        visit->launch.operations.push_back(operation);
    }
    return visit;
}

void answer(std::shared_ptr<Visit> visit, std::shared_ptr<Wire> wire) {
    Communicator &c = *visit->launch.communicator;
    if (run(visit->launch)) {
        std::string content;
        for (std::size_t i = 1; i < visit->memory.size(); i += 2) content += visit->memory[i];
        wire->send(Message::answer, content);
    }
    Lock lock(c.world->mutex);
    c.answering = false;
    c.world->changed.notify_all();
}

// Takes what comes for a rank from where all meet.
void listen_for(std::shared_ptr<Communicator> c) {
    Message message;
    std::string content;
    World &world = *c->world;
    while (c->elsewhere->wire->receive(message, content)) {
        Lock lock(world.mutex);
        if (message == Message::state) {
            std::size_t at = 0;
            take(content, at, world.state == IN_PROGRESS ? &world.state : &c->error, sizeof(Result));
        } else {
            c->elsewhere->answer.swap(content);
            c->elsewhere->answered = true;
        }
        world.changed.notify_all();
    }
    if (!deaths_are_noticed()) return;
    Lock lock(world.mutex);
    c->elsewhere->lost = true;
    if (world.state == IN_PROGRESS) world.state = REMOTE_ERROR;
    world.changed.notify_all();
}

} // namespace

bool deaths_are_noticed() {
    const char *text = std::getenv("FEEDLINE_SIMULATED_NCCL_DEATHS");
    return !text || std::strcmp(text, "silent") != 0;
}

bool sit_down_elsewhere(const std::shared_ptr<Communicator> &c, int ranks, const std::string &id,
                        const std::string &address) {
    Join join{};
    join.ranks = ranks, join.rank = c->rank;
    std::strncpy(join.id, id.c_str(), sizeof join.id - 1);
    std::strncpy(join.place, c->place.c_str(), sizeof join.place - 1);
    c->world = std::make_shared<World>(ranks);
    c->world->members[std::size_t(c->rank)] = c.get();
    c->elsewhere = std::make_unique<Elsewhere>();
    c->elsewhere->wire = connect_to(address);
    if (!c->elsewhere->wire || !c->elsewhere->wire->send(Message::join, bytes_of(join))) return false;
    std::thread(listen_for, c).detach();
    return true;
}

bool progress_elsewhere(Lock &lock, Launch &launch) {
    Communicator &c = *launch.communicator;
    Elsewhere &elsewhere = *c.elsewhere;
    if (c.aborted) return false;
    elsewhere.answered = false;
    lock.unlock();
    std::string content;
    for (const Operation &o : launch.operations) {
        content += bytes_of(Header{o.kind, o.count, o.type, o.reduction, o.root, o.call});
        content.append(static_cast<const char *>(o.send), bytes_sent(o, c.world->ranks, c.rank));
    }
    elsewhere.wire->send(Message::launch, content); // if nobody is there, nobody answers
    lock.lock();
    while (!elsewhere.answered) {
        if (c.aborted) return false;
        if (elsewhere.lost && c.error == SUCCESS) c.error = REMOTE_ERROR;
        c.world->changed.wait(lock);
    }
    std::size_t at = 0;
    for (const Operation &o : launch.operations)
        take(elsewhere.answer, at, o.receive, bytes_received(o, c.world->ranks, c.rank));
    return true;
}

void serve(std::shared_ptr<Wire> wire) {
    Message message;
    std::string content;
    if (!wire->receive(message, content) || message != Message::join) return;
    Join join;
    std::size_t at = 0;
    take(content, at, &join, sizeof join);
    auto c = std::make_shared<Communicator>();
    c->rank = join.rank, c->place = join.place, c->proxy = true;
    sit_down(c, join.ranks, join.id);
    std::thread(tell, c, wire).detach();
    while (wire->receive(message, content) && message == Message::launch) {
        std::shared_ptr<Visit> visit = unpack(c, content);
        {
            Lock lock(c->world->mutex);
            visit->launch.number = c->launches++;
        }
        std::thread(answer, visit, wire).detach();
    }
    abort(*c, message != Message::goodbye && deaths_are_noticed());
    forget(c);
}

bool is_delivered(const World &world) {
    for (const Communicator *member : world.members)
        if (member && member->proxy &&
            (member->answering || member->told != (member->error != SUCCESS ? member->error : world.state)))
            return false;
    return true;
}

} // namespace nccl
