// The simulated NCCL's connections between processes of one machine.
#include "nccl_wire.h"
#include "nccl.h"
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <random>
#include <sys/socket.h>
#include <sys/un.h>
#include <thread>
#include <unistd.h>

namespace nccl {
namespace {

// What goes ahead of a message's content.
struct Header {
    Message message;
    std::size_t length;
};

// A name that is no file, as it begins with a zero.
socklen_t name_of(const std::string &address, sockaddr_un &name) {
    std::string text = "feedline-simulated-nccl-" + address;
    name = {};
    name.sun_family = AF_UNIX;
    if (text.size() >= sizeof name.sun_path) text.resize(sizeof name.sun_path - 1);
    std::memcpy(name.sun_path + 1, text.data(), text.size());
    return socklen_t(offsetof(sockaddr_un, sun_path) + 1 + text.size());
}

void accept_all(int listener) {
    for (;;) {
        int descriptor = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
        if (descriptor >= 0) std::thread(serve, std::make_shared<Wire>(descriptor)).detach();
        else if (errno != EINTR && errno != ECONNABORTED)
            simulator::fail("the simulated NCCL can't accept a connection: %s", std::strerror(errno));
    }
}

std::string listen_somewhere() {
    std::random_device random;
    std::string address = std::to_string(getpid()) + "-" + std::to_string(random()) + "-" + std::to_string(random());
    sockaddr_un name;
    socklen_t length = name_of(address, name);
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, reinterpret_cast<sockaddr *>(&name), length) != 0 || listen(listener, 128) != 0)
        simulator::fail("the simulated NCCL can't listen: %s", std::strerror(errno));
    std::thread(accept_all, listener).detach();
    return address;
}

// Does `step` with what is left of the bytes, until all are done.
template <typename Byte, typename Step> bool all_of(Byte *bytes, std::size_t length, Step step) {
    while (length > 0) {
        ssize_t done = step(bytes, length);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) return false;
        bytes += done, length -= std::size_t(done);
    }
    return true;
}

} // namespace

Wire::~Wire() { close(descriptor); }

bool Wire::send(Message message, const std::string &content) {
    std::lock_guard<std::mutex> lock(sending);
    Header header{message, content.size()};
    auto step = [&](const char *bytes, std::size_t length) { return ::send(descriptor, bytes, length, MSG_NOSIGNAL); };
    return all_of(reinterpret_cast<const char *>(&header), sizeof header, step) &&
           all_of(content.data(), content.size(), step);
}

bool Wire::receive(Message &message, std::string &content) {
    Header header;
    auto step = [&](char *bytes, std::size_t length) { return recv(descriptor, bytes, length, 0); };
    if (!all_of(reinterpret_cast<char *>(&header), sizeof header, step)) return false;
    message = header.message;
    content.resize(header.length);
    return all_of(&content[0], content.size(), step);
}

void Wire::end() { shutdown(descriptor, SHUT_RDWR); }

const std::string &own_address() {
    static const std::string &address = *new std::string(listen_somewhere());
    return address;
}

std::shared_ptr<Wire> connect_to(const std::string &address) {
    sockaddr_un name;
    socklen_t length = name_of(address, name);
    int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (descriptor < 0) return nullptr;
    auto wire = std::make_shared<Wire>(descriptor);
    if (connect(descriptor, reinterpret_cast<sockaddr *>(&name), length) != 0) return nullptr;
    return wire;
}

} // namespace nccl
