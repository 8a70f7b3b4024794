// How processes of the simulated NCCL talk: over sockets with names that exist only as long as somebody has them open, so
// that nothing is left behind.
#pragma once
#include <memory>
#include <mutex>
#include <string>

namespace nccl {

enum class Message : unsigned {
    join,    // to where all meet: a rank that comes
    launch,  // operations, and what they send
    goodbye, // all that was launched is done; without it, the end of the connection is an abort
    state,   // back: of the communicator, whenever it changes
    answer   // what the operations of the launch receive
};

// A connection. Each direction is one for itself; any thread may send.
class Wire {
  public:
    explicit Wire(int descriptor) : descriptor(descriptor) {}
    Wire(const Wire &) = delete;
    ~Wire();
    // Both are false if the connection has ended.
    bool send(Message message, const std::string &content);
    bool receive(Message &message, std::string &content);
    // Wakes who sends or receives, here and there.
    void end();

  private:
    int descriptor;
    std::mutex sending;
};

// Where others reach this process; who connects is handed to serve (nccl.h), in a thread of its own.
const std::string &own_address();
// A connection with the process of that address, or null.
std::shared_ptr<Wire> connect_to(const std::string &address);

} // namespace nccl
