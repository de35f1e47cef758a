#pragma once
#include <memory>
#include <string>

#include "base/real_net.hpp"

namespace basalt::hv::qemu {

/// The serial console of one domain for any number of clients. QEMU serves one connection at a
/// time: this holds it, so that the guest never waits for a reader, and copies to whoever asks.
/// A new client first reads the last of what was said. Loop only.
class ConsoleHub {
  public:
    /// `socket` may also be a terminal, as Xen's console daemon serves. `log` is the file QEMU
    /// copies the console into; kept short from here. Empty: there is none.
    ConsoleHub(RealLoop& loop, std::string socket, std::string log);
    /// Clients read an end of stream.
    ~ConsoleHub();
    ConsoleHub(const ConsoleHub&) = delete;
    ConsoleHub& operator=(const ConsoleHub&) = delete;

    /// Throws system_error when QEMU is not there. Once.
    Task<void> connect();
    /// A connected socket. A client that reads too slowly (1 MiB behind) is dropped.
    UniqueFd open();
    void close();

    struct State;

  private:
    std::shared_ptr<State> state_;
};

}  // namespace basalt::hv::qemu
