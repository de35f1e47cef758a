#pragma once
#include "xapi/cli/client/channel.hpp"
#include "xapi/cli/client/options.hpp"
#include "xapi/cli/client/transfer.hpp"
#include "xapi/cli/protocol.hpp"

namespace basalt::cli::client {

/// Where to connect, best first.
[[nodiscard]] std::vector<Address> addresses_of(const Options& options);

/// One command from its request to the exit status that the server names. Throws
/// std::runtime_error when the server is out of reach or goes away.
class Session {
  public:
    Session(const Options& options, Address address, std::unique_ptr<Channel> channel);

    int run();

  private:
    void shake_hands();
    Instruction next();
    void obey(const Instruction& instruction);
    void answer(bool worked);
    void send(const Answer& what);
    void upload(const std::string& path);
    void prompt();

    const Options& options_;
    AllowedFiles files_;
    std::unique_ptr<Channel> channel_;
    Transfers transfers_;
};

}  // namespace basalt::cli::client
